"""The keys at the foot of a screen: in the order of the table, as many as fit, and help at the right end."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.screen import Screen
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from chomp_tui.keys import TABLE, Key
from chomp_tui.scopes import WITHIN

HELP = "app.help"
# From so many cells on, keys that are not of the first ones are named, too.
WIDE = 120
# Around a key and behind its label.
BLANKS = 3


class KeyBar(Footer):
    """Textual's footer, whose keys keep their order when the focus moves; rebuilt only for other keys."""

    DEFAULT_CSS = "KeyBar FooterKey.-help { dock: right; }"

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[tuple[Binding, bool, str]] = []

    def compose(self) -> ComposeResult:
        for binding, enabled, tooltip in self._shown:
            key = FooterKey(
                binding.key,
                self.app.get_key_display(binding),
                binding.description,
                binding.action,
                disabled=not enabled,
                tooltip=tooltip,
                classes="-help" if binding.id == HELP else "",
            )
            # Compact is FooterKey's own default (Textual 8.2.8). A key that is bound to the footer's value starts with
            # it, and under another screen keeps that width, which cuts its label.
            key.set_reactive(FooterKey.compact, False)
            yield key

    def bindings_changed(self, screen: Screen[object]) -> None:
        if screen is self.screen and screen.app.app_focus and self.is_attached:
            self._choose()

    def on_mount(self) -> None:
        # Keys may have changed while another window had the focus.
        self.watch(self.app, "app_focus", self._choose, init=False)

    def on_resize(self) -> None:
        self._choose()

    def _choose(self) -> None:
        width = self.size.width
        active = _by_id(self.screen.active_bindings.values())
        needed = {id: self._needed(one.binding) for id, one in active.items() if not one.binding.system}
        named = {id for id, one in active.items() if one.binding.show}
        chosen = [active[id] for id in fitting(named, needed, width)]
        shown = [(one.binding, one.enabled, one.tooltip) for one in chosen]
        if width and shown != self._shown:
            self._shown = shown
            self.call_after_refresh(self.recompose)

    def _needed(self, binding: Binding) -> int:
        return cell_len(self.app.get_key_display(binding)) + cell_len(binding.description) + BLANKS


def _by_id(bindings: Iterable[ActiveBinding]) -> dict[str, ActiveBinding]:
    """The first key of each row of the table."""
    found: dict[str, ActiveBinding] = {}
    for active in bindings:
        if active.binding.id is not None:
            found.setdefault(active.binding.id, active)
    return found


def fitting(named: set[str], needed: dict[str, int], width: int) -> list[str]:
    """The ids of the rows that are shown in `width` cells, in the order of the table; those of the console come last.

    Args:
        named: ids that come first.
        needed: cells of each row that can be shown.
    """
    rows = sorted((row for row in TABLE if row.id in needed), key=lambda row: row.scope == "app")
    first = [row for row in rows if row.id in named]
    first.sort(key=lambda row: (row.id != HELP, row.scope != "app"))
    others = [row for row in rows if width >= WIDE and _is_of_a_screen(row) and not row.footer]
    chosen, left = set[str](), width
    for row in [*first, *others]:
        left -= needed[row.id]
        if left < 0:
            break
        chosen.add(row.id)
    return [row.id for row in rows if row.id in chosen]


def _is_of_a_screen(row: Key) -> bool:
    """Whether its key does the same wherever the focus is, and is not one of a row of digits."""
    return row.scope not in ("app", "dialog", *WITHIN) and not row.keys.startswith("alt+")
