"""One of several words: type a part of it, or move and press Enter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label, OptionList

from chomp.record.formatting import sanitize
from chomp_tui.widgets.dialogs import Dialog

_MOVES = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}


@dataclass(frozen=True)
class Option:
    """One answer.

    Attributes:
        value: what is returned.
        label: how it is shown.
        note: a word beside it.
    """

    value: str
    label: str
    note: str = ""


class Picker(Dialog[str]):
    """Opens on the current value; None when cancelled."""

    def __init__(self, title: str, options: Sequence[Option], current: str) -> None:
        super().__init__(classes="dialog picker")
        self._title = title
        self._options = tuple(options)
        self._current = current
        self._shown: tuple[Option, ...] = ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            yield Input(placeholder="type to find", compact=True)
            yield OptionList()
            yield Label("type to find, ↑ ↓ move, Enter picks, Esc cancels", classes="hint")

    def on_mount(self) -> None:
        self._show("")
        self.query_one(Input).focus()

    def _show(self, text: str) -> None:
        self._shown, at = found(self._options, text, self._current)
        listing = self.query_one(OptionList)
        listing.clear_options()
        listing.add_options([self._line(option) for option in self._shown])
        listing.highlighted = at

    def _line(self, option: Option) -> Content:
        mark = "● " if option.value == self._current else "  "
        return Content.assemble(mark, sanitize(option.label), (f"  {option.note}" if option.note else "", "$muted"))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value)

    def on_key(self, event: events.Key) -> None:
        if event.key in _MOVES:
            event.stop()
            getattr(self.query_one(OptionList), f"action_{_MOVES[event.key]}")()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self.answer(self._shown[at].value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.answer(self._shown[event.option_index].value)


def found(options: Sequence[Option], text: str, current: str) -> tuple[tuple[Option, ...], int | None]:
    """Options that contain a text, and the index of the best: the current one, else one that begins with the text."""
    part = text.strip().lower()
    shown = tuple(one for one in options if part in f"{one.label} {one.note}".lower())
    ranked = sorted(
        range(len(shown)),
        key=lambda at: (shown[at].value != current if not part else not shown[at].label.lower().startswith(part), at),
    )
    return shown, ranked[0] if ranked else None
