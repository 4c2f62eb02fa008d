"""Roles of a chart's cells, and the signs that distinguish series without colour."""

from __future__ import annotations

from enum import IntEnum

from chomp_tui.chart.series import Series


class Role(IntEnum):
    """What a cell belongs to; the widget gives each role its colour."""

    BLANK = 0
    GRID = 1
    MUTED = 2
    TEXT = 3
    TITLE = 4
    CROSS = 5
    RAW = 6
    SMOOTH = 7
    EVAL = 8
    SECOND = 9
    DIM = 10
    RUN0 = 11
    RUN1 = 12
    RUN2 = 13
    RUN3 = 14
    RUN4 = 15
    RUN5 = 16
    RUN6 = 17
    RUN7 = 18
    CLIP = 19


_OF_TONE = {"raw": Role.RAW, "smooth": Role.SMOOTH, "eval": Role.EVAL, "second": Role.SECOND, "dim": Role.DIM}
_OF_SLOT = tuple(role for role in Role if role.name.startswith("RUN"))
# Eight, of which none is a sign of a tone; after each round of colours they shift by one, so that 64 slots differ.
_MARKS = "●■★✚○□◇☆"
_GLYPHS = {
    "braille": {"raw": "⣿", "smooth": "━", "eval": "◆", "second": "×", "dim": "┈"},
    "block": {"raw": "█", "smooth": "▬", "eval": "♦", "second": "x", "dim": "┈"},
}


def role_of(line: Series) -> Role:
    """The role of a series' cells."""
    if line.slot is None or line.tone == "dim":
        return _OF_TONE[line.tone]
    return _OF_SLOT[line.slot % len(_OF_SLOT)]


def glyph(line: Series, marker: str, *, plain: bool = True) -> str:
    """The sign of a series in the header, and in the picture where samples are marked.

    Args:
        plain: whether signs alone must distinguish the series; with colour, every curve but the raw one is a dash.
    """
    if line.mark:
        return line.mark
    if line.slot is not None:
        return _MARKS[(line.slot + line.slot // len(_OF_SLOT)) % len(_MARKS)]
    tone = "smooth" if not plain and not line.sparse and line.tone in ("eval", "second") else line.tone
    return _GLYPHS[marker][tone]


def sign(line: Series, marker: str, *, plain: bool = True) -> str:
    """The sign of a series beside its name: where there are more runs than signs, also the round of it, as in `■2`."""
    round_ = 0 if line.slot is None or line.mark else line.slot // len(_MARKS)
    return f"{glyph(line, marker, plain=plain)}{round_ + 1 if round_ else ''}"
