"""The message for a terminal that is too small."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

LEAST_COLUMNS, LEAST_ROWS = 60, 16


class TooSmall(Static):
    """Covers its screen while the terminal has fewer than 60 columns or 16 rows."""

    DEFAULT_CSS = """
    TooSmall {
        display: none; overlay: screen; constrain: inside inside; width: 100vw; height: 100vh;
        content-align: center middle; text-align: center;
        background: $background; color: $foreground;
    }
    TooSmall.shown { display: block; }
    """

    def on_mount(self) -> None:
        self._fitted = (0, 0)
        self.screen.screen_layout_refresh_signal.subscribe(self, lambda _: self._fit())
        self._fit()

    def _fit(self) -> None:
        columns, rows = self.screen.size
        # Every change of this widget refreshes the layout again.
        if (columns, rows) == self._fitted:
            return
        self._fitted = (columns, rows)
        small = 0 < columns < LEAST_COLUMNS or 0 < rows < LEAST_ROWS
        self.update(Content(f"{columns} × {rows} is too small:\nchomp needs {LEAST_COLUMNS} × {LEAST_ROWS}"))
        self.set_class(small, "shown")
