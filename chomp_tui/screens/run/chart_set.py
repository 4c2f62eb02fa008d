"""The charts of the run view: their series, which of them are stale, and what they have in common."""

from __future__ import annotations

from textual.widget import Widget

from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.charts import CHARTS
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.linked_charts import LinkedCharts

# Losses span decades: one key chooses for all of them.
LOSSES = ("loss", "sets", "taskbits", "terms", "source-loss")


class ChartSet(LinkedCharts):
    """All charts of the run view.

    Attributes:
        stale: whether the data or the place of a chart has changed since they were drawn.
    """

    def __init__(self, parent: Widget) -> None:
        super().__init__(parent)
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

    def _chart(self, name: str) -> LineChart:
        return self._parent.query_one(f"#{name}", LineChart)
