"""Binned samples into dots, and dots into characters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chomp.curves.bins import Bins, Bools
from chomp.curves.scale import Floats

Codes = NDArray[np.uint32]
_SPACE = ord(" ")


@dataclass(frozen=True)
class Marker:
    """How dots become characters.

    Attributes:
        across: dots per cell from left to right.
        down: dots per cell from top to bottom.
        weights: the bit of each dot, [down, across].
        codes: the character of each sum of bits.
    """

    name: str
    across: int
    down: int
    weights: Codes
    codes: Codes

    def cells(self, dots: Bools) -> Codes:
        """Characters [rows, columns] of dots [rows * down, columns * across]; a space where no dot is lit."""
        rows, columns = dots.shape[0] // self.down, dots.shape[1] // self.across
        grouped = dots.reshape(rows, self.down, columns, self.across)
        bits = np.einsum("rdca,da->rc", grouped.astype(np.uint32), self.weights)
        return self.codes[bits]


BRAILLE = Marker(
    "braille",
    2,
    4,
    np.array([[1, 8], [2, 16], [4, 32], [64, 128]], np.uint32),
    np.array([_SPACE, *range(0x2801, 0x2900)], np.uint32),
)
BLOCK = Marker("block", 1, 2, np.array([[1], [2]], np.uint32), np.array([ord(char) for char in " ▀▄█"], np.uint32))
MARKERS = {marker.name: marker for marker in (BRAILLE, BLOCK)}


def strokes(bins: Bins, columns: int) -> tuple[Floats, Floats]:
    """Lowest and highest point per dot column of the line through all samples; NaN where there is none.

    Neighbouring columns are joined half-way by the straight line from the last sample of one to the first of the
    other, also across columns without samples.
    """
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    inside = bins.column[bins.outside :].astype(np.intp)
    low[inside], high[inside] = bins.low[bins.outside :], bins.high[bins.outside :]
    border = _borders(bins, columns)
    low = np.fmin(low, np.fmin(border[:-1], border[1:]))
    high = np.fmax(high, np.fmax(border[:-1], border[1:]))
    return low, high


def _borders(bins: Bins, columns: int) -> Floats:
    """Height of the line where it crosses the left border of each dot column, and the right one of the last."""
    border = np.full(columns + 1, np.nan)
    if len(bins.column) < 2:
        return border
    places = np.arange(columns + 1) - 0.5
    after = np.searchsorted(bins.column, places, side="right")
    crossed = (after > 0) & (after < len(bins.column))
    crossed[crossed] = bins.joined[after[crossed]]
    after = after[crossed]
    left, right = bins.column[after - 1], bins.column[after]
    part = (places[crossed] - left) / (right - left)
    border[crossed] = bins.last[after - 1] * (1 - part) + bins.first[after] * part
    return border


def lit(low: Floats, high: Floats, rows: int, *, thick: bool = False) -> Bools:
    """Dots [rows, columns] between two heights per column (0 bottom, 1 top); the rest is cut off."""
    drawn = np.isfinite(low) & np.isfinite(high)
    top = dot_rows(np.where(drawn, high, 0.0), rows)
    bottom = dot_rows(np.where(drawn, low, 0.0), rows)
    drawn &= (top < rows) & (bottom >= 0)
    if thick and rows > 1:
        single = top == bottom
        bottom = np.where(single & (bottom < rows - 1), bottom + 1, bottom)
        top = np.where(single & (bottom == top), top - 1, top)
    row = np.arange(rows)[:, None]
    dots: Bools = (row >= top) & (row <= bottom) & drawn
    return dots


def dot_rows(heights: Floats, rows: int) -> NDArray[np.intp]:
    """Dot row, counted from the top, of heights between 0 and 1; outside values stay outside."""
    return np.rint(np.clip((1 - heights) * (rows - 1), -4, rows + 4)).astype(np.intp)
