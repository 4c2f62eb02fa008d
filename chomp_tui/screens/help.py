"""Help: the purpose of the screen, and every key of the key table."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Label, Static

from chomp_tui import keys
from chomp_tui.key_names import shown
from chomp_tui.scopes import SCOPES, WITHIN
from chomp_tui.widgets.dialogs import Dialog

# Widest and narrowest column of help sentences, and the cells that the box's edges and the gap take.
MOST_HELP_CELLS, LEAST_HELP_CELLS, EDGE_CELLS = 90, 24, 13


class HelpScreen(Dialog[None]):
    """All keys: first those of one screen and its widgets, then those of the others.

    Args:
        scope: the screen that opened it.
        purpose: what that screen shows.
        keymap: binding id -> keys, where the user chose others.
    """

    def __init__(self, scope: str, purpose: str, keymap: dict[str, str]) -> None:
        super().__init__(classes="dialog wide")
        self._scope = scope
        self._purpose = purpose
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Help", classes="title")
            with VerticalScroll():
                yield Static(self.text)
            yield Label("arrows scroll, Esc closes, Ctrl+P finds a command", classes="hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    @property
    def text(self) -> Content:
        """The whole page."""
        parts_of_it = [part for part, screens in WITHIN.items() if self._scope in screens]
        first = [scope for scope in (self._scope, *parts_of_it, "app") if scope]
        order = [*first, *(scope for scope in SCOPES if scope not in first)]
        named = {row.id: shown(self._keymap.get(row.id, row.keys)) for row in keys.TABLE}
        key_cells = max(map(cell_len, named.values()))
        room = self.app.size.width * 9 // 10 - key_cells - EDGE_CELLS
        help_cells = max(LEAST_HELP_CELLS, min(MOST_HELP_CELLS, room))
        parts: list[Content | str] = [self._purpose, "\n"] if self._purpose else []
        for scope in order:
            parts += ["\n", Content.styled(SCOPES[scope], "bold $accent"), "\n"]
            for row in keys.TABLE:
                if row.scope == scope:
                    line, *more = Content(row.help).wrap(help_cells)
                    parts += [Content.styled(f"  {named[row.id]:<{key_cells}}  ", "bold"), line, "\n"]
                    parts += [f"{'':<{key_cells + 4}}{other.plain}\n" for other in more]
        return Content.assemble(*parts)
