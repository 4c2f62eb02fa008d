"""Chooses the columns of Home among facts, settings and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from chomp.record.selection import FIELDS
from chomp.record.summary import RunSummary
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.listing import Column, Listing, Row, cell
from chomp_tui.widgets.run_rows import COLUMNS, STANDARD

# A list of more is not read; the filter finds the others.
MOST_SHOWN = 200
_FIRST = ("state", "name", "step", "eval", "bpb")


def candidates(runs: Sequence[RunSummary], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and what they are: the chosen ones, the standard ones, settings that differ here, then all others."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for path, value in run.settings.items():
            values.setdefault(path, set()).add(str(value))
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    found = dict.fromkeys(chosen or STANDARD, "chosen")
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


def turned_over(chosen: Sequence[str], key: str) -> tuple[str, ...]:
    """The columns with one more, or one less; a new one comes after the results and the user's other ones."""
    if key in chosen:
        return tuple(one for one in chosen if one != key)
    before = [place for place, one in enumerate(chosen) if one in _FIRST or one not in COLUMNS]
    place = len(chosen) if key in COLUMNS else max(before, default=-1) + 1
    return (*chosen[:place], key, *chosen[place:])


LIST_COLUMNS = (
    Column("mark", "", 1),
    Column("key", "", 20, grow=1, middle=True),
    Column("what", "", 13, rank=1),
)


class _Finder(Input):
    """A line for part of a key, which has no space: that key is the list's."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "space" and super().check_consume_key(key, character)


class ChooseColumns(Dialog[tuple[str, ...]]):
    """A list with marks and a filter; the answer is empty for the standard columns."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *Dialog.BINDINGS,
        Binding("enter", "accept", show=False, priority=True),
        Binding("f5", "standard", show=False, priority=True),
        Binding("space", "turn_over", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
    ]

    def __init__(self, runs: Sequence[RunSummary], chosen: Sequence[str]) -> None:
        super().__init__(classes="dialog columns")
        self._candidates = candidates(runs, chosen)
        self._chosen = tuple(chosen or STANDARD)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Columns", classes="title")
            yield _Finder(placeholder="type a part of a setting, a metric or a fact", compact=True)
            yield Listing(LIST_COLUMNS, head=False, id="columns-list")
            yield Label("Space on/off, Enter accepts, F5 standard, Esc cancels", classes="hint")

    def on_mount(self) -> None:
        super().on_mount()
        self._draw()
        self.query_one(Input).focus()

    def _draw(self) -> None:
        needle = self.query_one(Input).value.strip().lower()
        found = [one for one in self._candidates if needle in one[0].lower()][:MOST_SHOWN]
        rows = []
        for key, what in found:
            is_chosen = key in self._chosen
            tone = "strong" if is_chosen else ""
            mark = cell("✓" if is_chosen else "", "good")
            rows.append(Row(key, {"mark": mark, "key": cell(key, tone), "what": cell(what, "muted")}))
        self.query_one(Listing).show(rows)

    def on_input_changed(self) -> None:
        self._draw()

    def on_listing_opened(self) -> None:
        self.action_turn_over()

    def action_move(self, by: int) -> None:
        """One row up or down, wherever the cursor of the text is."""
        self.query_one(Listing).action_move(by)

    def action_turn_over(self) -> None:
        """Show the selected column, or no longer."""
        key = self.query_one(Listing).selected
        if key is None:
            return
        self._chosen = turned_over(self._chosen, key)
        self._draw()

    def action_accept(self) -> None:
        """Show the chosen columns."""
        self.answer(() if self._chosen == STANDARD else self._chosen)

    def action_standard(self) -> None:
        """Show the standard columns."""
        self.answer(())
