"""Chooses the columns of Home among facts, settings and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.widgets import Input, Label, SelectionList
from textual.widgets.selection_list import Selection

from chomp.record.selection import FIELDS
from chomp.record.summary import RunSummary
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.run_rows import STANDARD

# A list of more is not read; the filter finds the others.
MOST_SHOWN = 200


def candidates(runs: Sequence[RunSummary], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and what they are: the chosen ones, the standard ones, settings that differ here, then all others."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for path, value in run.settings.items():
            values.setdefault(path, set()).add(str(value))
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    found = dict.fromkeys(chosen or STANDARD, "shown now")
    groups: tuple[tuple[Iterable[str], str], ...] = (
        (STANDARD, "standard"),
        ((path for path, seen in values.items() if len(seen) > 1), "differs here"),
        (FIELDS, "fact"),
        (metrics, "newest metric"),
        (values, "setting"),
    )
    for keys, what in groups:
        for key in keys:
            found.setdefault(key, what)
    return list(found.items())


class ChooseColumns(Dialog[tuple[str, ...]]):
    """A list with marks and a filter; the answer is empty for the standard columns."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *Dialog.BINDINGS,
        Binding("enter", "accept", show=False, priority=True),
        Binding("f5", "standard", show=False, priority=True),
    ]

    def __init__(self, runs: Sequence[RunSummary], chosen: Sequence[str]) -> None:
        super().__init__(classes="dialog columns")
        self._candidates = candidates(runs, chosen)
        self._chosen = dict.fromkeys(chosen or STANDARD)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Columns", classes="title")
            yield Input(placeholder="part of a setting, a metric or a fact", compact=True)
            yield SelectionList[str](*self._selections(""), compact=True)
            yield Label("Type to find. Space on/off, Enter accepts, F5 standard columns, Esc cancels.", classes="hint")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(SelectionList).focus()

    def _selections(self, needle: str) -> list[Selection[str]]:
        found = [one for one in self._candidates if needle.lower() in one[0].lower()][:MOST_SHOWN]
        width = max((len(key) for key, _ in found), default=0)
        return [
            Selection(Content.assemble(f"{key:<{width}}  ", (what, "$muted")), key, key in self._chosen)
            for key, what in found
        ]

    def on_input_changed(self, event: Input.Changed) -> None:
        shown = self.query_one(SelectionList)
        with self.prevent(SelectionList.SelectedChanged):
            shown.clear_options()
            shown.add_options(self._selections(event.value.strip()))

    def on_selection_list_selection_toggled(self, event: SelectionList.SelectionToggled[str]) -> None:
        key = event.selection.value
        if key in self._chosen:
            del self._chosen[key]
        else:
            self._chosen[key] = None

    def action_accept(self) -> None:
        """Show the chosen columns."""
        chosen = tuple(self._chosen)
        self.answer(() if chosen == STANDARD else chosen)

    def action_standard(self) -> None:
        """Show the standard columns."""
        self.answer(())

    def on_key(self, event: Key) -> None:
        if event.key == "down" and isinstance(self.focused, Input):
            event.stop()
            self.query_one(SelectionList).focus()
        elif event.is_printable and event.key != "space" and isinstance(self.focused, SelectionList):
            event.stop()
            line = self.query_one(Input)
            line.focus()
            line.insert_text_at_cursor(event.character or "")
