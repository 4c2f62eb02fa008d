"""Differing settings and results as rows of a list, with a column for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from textual.binding import Binding, BindingType
from textual.message import Message

from chomp.record.comparison import Comparison
from chomp_tui.chart.roles import sign
from chomp_tui.chart.series import Series
from chomp_tui.screens.compare.curves import best_first
from chomp_tui.screens.compare.values import fitted, fitted_settings
from chomp_tui.widgets.listing import Cell, Column, Listing, Row, cell, fit_columns

NAME_CELLS, LEAST_RUN_CELLS = 14, 9
BEST = "★ "


class CompareTable(Listing):
    """The table of a comparison: the baseline, the best run, the others; arrows scroll what finds no room."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "columns(-1)", show=False),
        Binding("right", "columns(1)", show=False),
    ]

    class LaidOut(Message):
        """The columns were chosen; so many runs found no room."""

        def __init__(self, hidden: int) -> None:
            super().__init__()
            self.hidden = hidden

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__((), id=id)
        self._comparison: Comparison | None = None
        self._marker = ""
        # Runs that are scrolled away on the left, and those that find no room.
        self._scrolled = self._hidden = 0

    def compare(self, comparison: Comparison | None, marker: str) -> None:
        """Show a comparison with the signs of its curves, or nothing."""
        self._comparison, self._marker = comparison, marker
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def action_columns(self, by: int) -> None:
        """Show the runs on the left or on the right; the baseline stays."""
        self._scrolled += by
        self._lay_out()

    def action_edge(self, last: int) -> None:
        """To the first runs or to the last; where all are shown, to the first row or to the last."""
        if self._hidden:
            self.action_columns(self._hidden if last else -self._scrolled)
        else:
            super().action_edge(last)

    def _lay_out(self) -> None:
        """Choose columns for the width, and texts that their width has room for."""
        if self._comparison is None:
            self._scrolled = self._hidden = 0
            self.show_columns(())
            self.show(())
            self.post_message(self.LaidOut(0))
            return
        names = [one.path for one in self._comparison.differences] + [one.name for one in self._comparison.results]
        longest = {"name": max(map(len, (*names, TITLES[True])))}
        shown = columns(self._comparison, self._marker)
        # A scroll bar may take one cell.
        room = fit_columns(shown, self.size.width - 1, longest)
        cells = min((width for column, width in room if column.key != "name"), default=LEAST_RUN_CELLS)
        fitting = len(room) - 1
        self._hidden = len(shown) - 1 - fitting
        self._scrolled = max(0, min(self._scrolled, self._hidden))
        name, baseline, *others = shown
        if fitting > 1:
            others = [baseline, *others[self._scrolled : self._scrolled + fitting - 1]]
        else:
            others = [baseline, *others][self._scrolled : self._scrolled + 1]
        self.show_columns((name, *others))
        self.show(rows(self._comparison, max(cells, LEAST_RUN_CELLS)))
        self.post_message(self.LaidOut(self._hidden))


def columns(comparison: Comparison, marker: str) -> tuple[Column, ...]:
    """One column for the names, one for each run, with the sign of its curve: the baseline, the best, the others."""
    best = best_first(comparison)[0]
    order = list(dict.fromkeys([0, best, *range(len(comparison.runs))]))
    names = {slot: f"{_sign(slot, marker)} {run.name}" for slot, run in enumerate(comparison.runs)}
    runs = [
        Column(f"run{slot}", names[slot], LEAST_RUN_CELLS, grow=1, rank=place, middle=True)
        for place, slot in enumerate(order)
    ]
    return (Column("name", "", NAME_CELLS, middle=True, whole=True), *runs)


def _sign(slot: int, marker: str) -> str:
    """The sign that the chart gives to a run."""
    return sign(Series("", np.empty(0), np.empty(0), slot=slot), marker)


# Of the first rows, by whether any setting differs.
TITLES = {True: "settings that differ", False: "no setting differs"}


def rows(comparison: Comparison, cells: int) -> list[Row]:
    """The settings that differ, then the results, of which the best one stands out; texts of at most `cells` cells."""
    found = [_title("settings", TITLES[bool(comparison.differences)])]
    for difference in comparison.differences:
        texts = [cell(text) for text in fitted_settings(difference.values, cells)]
        found.append(_row(f"setting {difference.path}", cell(difference.path), texts))
    found.append(_title("results", "results"))
    for result in comparison.results:
        texts = [
            _result(value, text, cells, is_best=place == result.best)
            for place, (value, text) in enumerate(zip(result.values, result.texts, strict=True))
        ]
        found.append(_row(f"result {result.name}", cell(result.name), texts))
    return found


def _result(value: Any, text: str, cells: int, *, is_best: bool) -> Cell:
    return (
        cell(f"{BEST}{fitted(value, text, cells - len(BEST))}", "good") if is_best else cell(fitted(value, text, cells))
    )


def _title(key: str, text: str) -> Row:
    return Row(key, {"name": cell(text, "muted")})


def _row(key: str, name: Cell, texts: Sequence[Cell]) -> Row:
    return Row(key, {"name": name, **{f"run{slot}": text for slot, text in enumerate(texts)}})
