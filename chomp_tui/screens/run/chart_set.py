"""The charts of the run view: their series, and which of them are stale."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget

from chomp_tui.chart.frame import Series
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run import charts
from chomp_tui.widgets.chart import LineChart

# How many charts one update redraws after new rows.
CHARTS_AT_ONCE = 3
CHARTS: dict[str, Callable[[RunSnapshot], list[Series]]] = {
    "loss": charts.loss_lines,
    "speed": charts.speed_lines,
    "grad": charts.gradient_lines,
    "rate": charts.rate_lines,
    "device": charts.memory_lines,
    "terms": charts.term_lines,
}
# Losses span decades: one key chooses for all of them.
LOSSES = ("loss", "terms")


class ChartSet:
    """All charts below a widget.

    Attributes:
        stale: charts whose data or place has changed since they were drawn; those drawn longest ago first.
    """

    def __init__(self, parent: Widget) -> None:
        self._parent = parent
        self.stale = list(CHARTS)
        self._draws_all = True

    def changed(self) -> None:
        """Mark all charts as stale, to be drawn at once."""
        self.stale, self._draws_all = list(CHARTS), True

    def add_rows(self, *, is_whole: bool) -> None:
        """Mark all charts as stale after new rows; while the run is still being read, all are drawn at once."""
        self.stale += [name for name in CHARTS if name not in self.stale]
        self._draws_all = self._draws_all or not is_whole

    def draw(self, snapshot: RunSnapshot) -> None:
        """Draw charts that are stale: if only a few rows came, some now and the others at the next look or tick.

        Drawing is most of what an update costs, and a key waits for all of it.
        """
        shown = [name for name in self.stale if self._chart(name).display]
        now = shown if self._draws_all else shown[:CHARTS_AT_ONCE]
        for name in now:
            self._chart(name).show(CHARTS[name](snapshot), x_label=snapshot.x_axis)
        self.stale = [name for name in shown if name not in now]
        self._draws_all = False

    def set_marker(self, marker: str) -> None:
        """Draw all with Braille dots, or with blocks."""
        for chart in self.all:
            chart.marker = marker

    def set_log_y(self, log_y: bool) -> None:
        """Plot losses logarithmically, or not."""
        for name in LOSSES:
            self._chart(name).log_y = log_y

    @property
    def all(self) -> list[LineChart]:
        """Every chart."""
        return list(self._parent.query(LineChart))

    def _chart(self, name: str) -> LineChart:
        return self._parent.query_one(f"#{name}", LineChart)
