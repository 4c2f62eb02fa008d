"""Differing settings and results as rows of a list, with a column for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chomp.record.comparison import Comparison
from chomp_tui.chart.roles import glyph
from chomp_tui.chart.series import Series
from chomp_tui.screens.compare.values import fitted, fitted_settings
from chomp_tui.widgets.listing import Cell, Column, Listing, Row, cell, fit_columns

NAME_CELLS, LEAST_RUN_CELLS = 14, 9
BEST = "★ "


class CompareTable(Listing):
    """The table of a comparison."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__((), id=id)
        self._comparison: Comparison | None = None
        self._marker = ""

    def compare(self, comparison: Comparison | None, marker: str) -> None:
        """Show a comparison with the signs of its curves, or nothing."""
        self._comparison, self._marker = comparison, marker
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """Choose columns for the width, and texts that their width has room for."""
        if self._comparison is None:
            self.show_columns(())
            self.show(())
            return
        names = [one.path for one in self._comparison.differences] + [one.name for one in self._comparison.results]
        longest = {"name": max(map(len, (*names, TITLES[True])))}
        shown = columns(self._comparison, self._marker)
        # A scroll bar may take one cell.
        room = fit_columns(shown, self.size.width - 1, longest)
        cells = min((width for column, width in room if column.key != "name"), default=LEAST_RUN_CELLS)
        self.show_columns(shown)
        self.show(rows(self._comparison, max(cells, LEAST_RUN_CELLS)))


def columns(comparison: Comparison, marker: str) -> tuple[Column, ...]:
    """One column for the names, one for each run, which has the sign of its curve."""
    runs = [
        Column(f"run{slot}", f"{_sign(slot, marker)} {run.name}", LEAST_RUN_CELLS, grow=1, rank=slot, middle=True)
        for slot, run in enumerate(comparison.runs)
    ]
    return (Column("name", "", NAME_CELLS, middle=True, whole=True), *runs)


def _sign(slot: int, marker: str) -> str:
    """The sign that the chart gives to a run."""
    return glyph(Series("", np.empty(0), np.empty(0), slot=slot), marker)


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
