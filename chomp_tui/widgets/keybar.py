"""The keys at the foot of a screen, built anew only when they are other keys than before."""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Footer


class KeyBar(Footer):
    """Textual's footer, without its rebuilding of every key whenever the focus moves."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[tuple[object, ...]] | None = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        bindings = [active for active in screen.active_bindings.values() if active.binding.show]
        shown = [(active.binding, active.enabled, active.tooltip) for active in bindings]
        if shown != self._shown and screen.app.app_focus and self.is_attached:
            self._shown = list(shown)
            super().bindings_changed(screen)
