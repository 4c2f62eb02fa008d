"""The charts of the run view: their series, which of them are stale, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget

from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.charts import CHARTS
from chomp_tui.widgets.chart import LineChart

# Losses span decades: one key chooses for all of them.
LOSSES = ("loss", "sets", "taskbits", "terms", "source-loss")


class ChartSet:
    """All charts below a widget; they show the same part of x, and one crosshair.

    Attributes:
        stale: whether the data or the place of a chart has changed since they were drawn.
    """

    def __init__(self, parent: Widget) -> None:
        self._parent = parent
        self.stale = True

    def draw(self, snapshot: RunSnapshot) -> None:
        """Draw those that are shown, if they are stale."""
        if self.stale:
            for chart in CHARTS:
                widget = self._chart(chart.name)
                if widget.display:
                    widget.show(chart.series(snapshot), x_label=snapshot.x_axis)
        self.stale = False

    def set_marker(self, marker: str) -> None:
        """Draw all with Braille dots, or with blocks."""
        for chart in self.all:
            chart.marker = marker

    def set_log_y(self, log_y: bool) -> None:
        """Plot losses logarithmically, or not."""
        for name in LOSSES:
            self._chart(name).log_y = log_y

    def show_all_values(self) -> bool:
        """Show all values in all charts, or again those of the calm part; returns which."""
        show_all = not self._leader.show_all
        for chart in self.all:
            chart.show_all = show_all
        return show_all

    def move(self, how: Callable[[LineChart], None]) -> None:
        """Zoom or pan all charts."""
        leader = self._leader
        how(leader)
        self.follow_window(leader)

    def follow_window(self, leader: LineChart) -> None:
        """Show the part of x that one of them shows."""
        for chart in self.all:
            chart.window = leader.window

    def follow_cross(self, leader: LineChart) -> None:
        """Show the crosshair of one of them."""
        for chart in self.all:
            chart.cross = leader.cross

    @property
    def cross(self) -> float | None:
        """x of the crosshair, None without one."""
        return self._leader.cross

    @property
    def all(self) -> list[LineChart]:
        """Every chart."""
        return list(self._parent.query(LineChart))

    @property
    def _leader(self) -> LineChart:
        """The chart with the focus, else the loss."""
        focused = self._parent.screen.focused
        return focused if isinstance(focused, LineChart) else self._chart("loss")

    def _chart(self, name: str) -> LineChart:
        return self._parent.query_one(f"#{name}", LineChart)
