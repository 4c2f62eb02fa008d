"""The line at the top of every screen: all screens, the current one, and one line of context."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from chomp.record.formatting import sanitize
from chomp_tui.key_names import shown
from chomp_tui.scopes import SCREENS
from chomp_tui.widgets.update_if_changed import set_text


class Tab(Static):
    """A screen's name; a click goes there."""

    def __init__(self, mode: str, label: str, *, active: bool) -> None:
        super().__init__(Content(label), classes="tab active" if active else "tab")
        self._mode = mode

    async def on_click(self, event: Click) -> None:
        event.stop()
        await self.run_action(f"app.show_screen('{self._mode}')")


class TopBar(Horizontal):
    """Screen names on the left, one line of context on the right.

    Args:
        active: the mode of the screen below.
        read_only: whether this console is read-only.
    """

    def __init__(self, active: str, *, read_only: bool = False) -> None:
        super().__init__(id="topbar")
        self._active = active
        self._read_only = read_only

    def compose(self) -> ComposeResult:
        yield Static(Content.styled("chomp", "bold"), classes="brand")
        for entry in SCREENS:
            if entry.keys or entry.mode == self._active:
                label = f"{shown(entry.keys)} {entry.label}".strip()
                yield Tab(entry.mode, label, active=entry.mode == self._active)
        if self._read_only:
            yield Static("read-only", classes="read-only")
        yield Static("", id="context")

    def set_context(self, text: str | Content) -> None:
        """Show one line of context."""
        set_text(self.query_one("#context", Static), text if isinstance(text, Content) else Content(sanitize(text)))
