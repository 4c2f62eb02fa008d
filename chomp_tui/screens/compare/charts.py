"""The two charts of the compare screen: the losses, and the difference of two runs."""

from __future__ import annotations

from dataclasses import replace

from chomp_tui.chart.window import Window
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.linked_charts import LinkedCharts


class CompareCharts(LinkedCharts):
    """Both charts. The difference ends where the shorter run does."""

    def follow_window(self, leader: LineChart) -> None:
        """Show the part of x that one of them shows, also where only the other has newer records."""
        window, (_, last) = leader.window, leader.extent
        for chart in self.all:
            is_longer = chart.extent[1] > last
            ends = window.width is not None and window.end is None and is_longer
            chart.window = replace(window, end=last) if ends else window

    def show_whole(self) -> None:
        """Show everything, without a crosshair, and clip extreme values."""
        for chart in self.all:
            chart.cross, chart.window, chart.show_all = None, Window(), False
