"""Roles of a chart's cells, and the glyphs that distinguish series without colour."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

Tone = Literal["raw", "smooth", "eval", "second"]


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


OF_TONE: dict[str, Role] = {"raw": Role.RAW, "smooth": Role.SMOOTH, "eval": Role.EVAL, "second": Role.SECOND}
_GLYPHS = {
    "braille": {"raw": "⣿", "smooth": "━", "eval": "◆", "second": "×"},
    "block": {"raw": "█", "smooth": "▬", "eval": "♦", "second": "x"},
}


def glyph(tone: str, marker: str, *, plain: bool = True) -> str:
    """The sign of a tone in the header, and in the picture where samples are marked.

    Args:
        plain: whether glyphs alone must distinguish the series; with colour, every curve but the raw one is a dash.
    """
    return _GLYPHS[marker]["smooth" if not plain and tone in ("eval", "second") else tone]
