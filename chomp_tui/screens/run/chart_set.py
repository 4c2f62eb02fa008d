"""The charts of the run view: their series, and which of them are stale."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget

from chomp_tui.chart.frame import Series
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run import charts
from chomp_tui.widgets.chart import LineChart

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
        stale: whether the data or the place of a chart has changed since they were drawn.
    """

    def __init__(self, parent: Widget) -> None:
        self._parent = parent
        self.stale = True

    def draw(self, snapshot: RunSnapshot) -> None:
        """Draw those that are shown, if they are stale."""
        if self.stale:
            for name, lines in CHARTS.items():
                chart = self._chart(name)
                if chart.display:
                    chart.show(lines(snapshot), x_label=snapshot.x_axis)
        self.stale = False

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
