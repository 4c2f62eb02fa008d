"""How charts are drawn, as the user chose it; the choices are kept in the settings."""

from __future__ import annotations

from collections.abc import Callable

from textual.timer import Timer
from textual.widget import Widget

from chomp_tui.platform.background import start_thread
from chomp_tui.screens.run.chart_set import ChartSet
from chomp_tui.screens.run.charts import SMOOTHINGS
from chomp_tui.settings import X_AXES, Settings, SettingsSaver

SETTINGS_DELAY_SECONDS = 0.5


class ChartChoices:
    """Changes the settings of charts, and writes them soon; `redraw` draws what is stale then."""

    def __init__(self, parent: Widget, charts: ChartSet, settings: Settings, redraw: Callable[[], None]) -> None:
        self._parent = parent
        self._charts = charts
        self._settings = settings
        self._redraw = redraw
        self._saver = SettingsSaver(settings)
        self._saving: Timer | None = None
        charts.set_marker(settings.marker)
        charts.set_log_y(settings.log_y)

    def log_y(self) -> None:
        """Logarithmic or linear."""
        self._settings.log_y = not self._settings.log_y
        self._charts.set_log_y(self._settings.log_y)
        self._save_soon()

    def smoothing(self) -> None:
        """The next amount of smoothing."""
        before = self._settings.smoothing
        self._settings.smoothing = next((one for one in SMOOTHINGS if one > before), SMOOTHINGS[0])
        self._changed()

    def x_axis(self) -> None:
        """The next x axis."""
        before = self._settings.x_axis
        place = X_AXES.index(before) if before in X_AXES else 0
        self._settings.x_axis = X_AXES[(place + 1) % len(X_AXES)]  # type: ignore[assignment]
        self._changed()

    def marker(self) -> None:
        """Braille dots or blocks."""
        self._settings.marker = "block" if self._settings.marker == "braille" else "braille"
        self._charts.set_marker(self._settings.marker)
        self._save_soon()

    def save(self) -> None:
        """Write the settings now."""
        self._saver.save()

    def _changed(self) -> None:
        self._charts.stale = True
        self._redraw()
        self._save_soon()

    def _save_soon(self) -> None:
        """Write the settings soon, once for several keys in a row."""
        if self._saving is not None:
            self._saving.stop()
        save = lambda: start_thread(self._saver.save, "save-settings")  # noqa: E731
        self._saving = self._parent.set_timer(SETTINGS_DELAY_SECONDS, save)
        self._saver.changed()
