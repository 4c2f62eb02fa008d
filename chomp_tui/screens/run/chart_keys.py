"""The keys of the run screen that change its charts, and the settings that keep such choices."""

from __future__ import annotations

from textual.timer import Timer

from chomp_tui.platform.background import start_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.run.chart_set import ChartSet
from chomp_tui.screens.run.charts import SMOOTHINGS
from chomp_tui.settings import X_AXES, SettingsSaver
from chomp_tui.widgets.chart import LineChart

SETTINGS_DELAY_SECONDS = 0.5


class ChartKeys(ConsoleScreen):
    """A screen with charts."""

    def __init__(self) -> None:
        super().__init__()
        self.charts = ChartSet(self)
        self._saving: Timer | None = None

    def redraw(self) -> None:
        """Draw what has changed."""
        raise NotImplementedError

    def on_mount(self) -> None:
        settings = self.chomp.state.settings
        self._saver = SettingsSaver(settings)
        self.charts.set_marker(settings.marker)
        self.charts.set_log_y(settings.log_y)

    def on_unmount(self) -> None:
        self._saver.save()

    def action_log_y(self) -> None:
        """Logarithmic or linear."""
        settings = self.chomp.state.settings
        settings.log_y = not settings.log_y
        self.charts.set_log_y(settings.log_y)
        self._save_soon()

    def action_smoothing(self) -> None:
        """The next amount of smoothing."""
        settings = self.chomp.state.settings
        settings.smoothing = next((one for one in SMOOTHINGS if one > settings.smoothing), SMOOTHINGS[0])
        self._settings_changed()

    def action_x_axis(self) -> None:
        """The next x axis."""
        settings = self.chomp.state.settings
        place = X_AXES.index(settings.x_axis) if settings.x_axis in X_AXES else 0
        settings.x_axis = X_AXES[(place + 1) % len(X_AXES)]  # type: ignore[assignment]
        self._settings_changed()

    def action_marker(self) -> None:
        """Braille dots or blocks."""
        settings = self.chomp.state.settings
        settings.marker = "block" if settings.marker == "braille" else "braille"
        self.charts.set_marker(settings.marker)
        self._save_soon()

    def action_zoom_in(self) -> None:
        """Show a shorter range in all charts."""
        self.charts.move(LineChart.zoom_in)

    def action_zoom_out(self) -> None:
        """Show a longer range in all charts."""
        self.charts.move(LineChart.zoom_out)

    def action_zoom_reset(self) -> None:
        """Show the whole run in all charts."""
        self.charts.move(LineChart.zoom_reset)

    def action_pan(self, direction: int) -> None:
        """Show earlier or later steps in all charts."""
        self.charts.move(lambda chart: chart.pan(direction))

    def action_all_values(self) -> None:
        """Show all values in all charts, or clip extreme ones."""
        self.charts.show_all_values()

    def on_line_chart_window_moved(self, message: LineChart.WindowMoved) -> None:
        self.charts.follow_window(message.chart)

    def on_line_chart_cross_moved(self, message: LineChart.CrossMoved) -> None:
        self.charts.follow_cross(message.chart)
        self.redraw()

    def _settings_changed(self) -> None:
        self.charts.stale = True
        self.redraw()
        self._save_soon()

    def _save_soon(self) -> None:
        """Write the settings soon, once for several keys in a row."""
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.set_timer(SETTINGS_DELAY_SECONDS, lambda: start_thread(self._saver.save, "save-settings"))
        self._saver.changed()
