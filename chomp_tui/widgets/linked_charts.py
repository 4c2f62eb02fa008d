"""Charts side by side that show the same part of x, and one crosshair."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget

from chomp_tui.widgets.chart import LineChart


class LinkedCharts:
    """All charts below a widget; a key acts on all of them, as one of them understands it."""

    def __init__(self, parent: Widget) -> None:
        self._parent = parent

    def move(self, how: Callable[[LineChart], None]) -> None:
        """Zoom or pan all charts."""
        leader = self.leader
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

    def show_all_values(self) -> bool:
        """Show all values in all charts, or again those of the calm part; returns which."""
        show_all = not self.leader.show_all
        for chart in self.all:
            chart.show_all = show_all
        return show_all

    @property
    def cross(self) -> float | None:
        """x of the crosshair, None without one."""
        return self.leader.cross

    @property
    def all(self) -> list[LineChart]:
        """Every chart."""
        return list(self._parent.query(LineChart))

    @property
    def leader(self) -> LineChart:
        """The chart with the focus, else the first that is shown."""
        focused, charts = self._parent.screen.focused, self.all
        if isinstance(focused, LineChart):
            return focused
        return next((chart for chart in charts if all(node.display for node in chart.ancestors_with_self)), charts[0])
