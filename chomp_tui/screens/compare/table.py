"""Differing settings and results as rows of a list, with a column for each run."""

from __future__ import annotations

import numpy as np

from chomp.record.comparison import Comparison, setting_text
from chomp_tui.chart.roles import glyph
from chomp_tui.chart.series import Series
from chomp_tui.widgets.listing import Cell, Column, Row, cell

NAME_CELLS, LEAST_RUN_CELLS = 14, 9


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


def rows(comparison: Comparison) -> list[Row]:
    """The settings that differ, then the results; the best one stands out."""
    found = [_title("settings", "settings that differ" if comparison.differences else "no setting differs")]
    for difference in comparison.differences:
        texts = [cell(setting_text(value)) for value in difference.values]
        found.append(_row(f"setting {difference.path}", cell(difference.path), texts))
    found.append(_title("results", "results"))
    for result in comparison.results:
        texts = [
            cell(f"★ {text}" if place == result.best else text, "good" if place == result.best else "")
            for place, text in enumerate(result.texts)
        ]
        found.append(_row(f"result {result.name}", cell(result.name), texts))
    return found


def _title(key: str, text: str) -> Row:
    return Row(key, {"name": cell(text, "muted")})


def _row(key: str, name: Cell, texts: list[Cell]) -> Row:
    return Row(key, {"name": name, **{f"run{slot}": text for slot, text in enumerate(texts)}})
