"""Samples into dots: per dot column the envelope of what falls into it, so that spikes survive any decimation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chomp_tui.chart.scale import Scale

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint32]
Places = NDArray[np.intp]
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


@dataclass(frozen=True)
class Samples:
    """A series made fit for drawing.

    Attributes:
        x: ascending and finite.
        y: NaN where a sample cannot be drawn.
        usable: where it can; None where all can.
    """

    x: Floats
    y: Floats
    usable: Bools | None

    @property
    def empty(self) -> bool:
        """Whether no sample can be drawn."""
        return not len(self.x) or (self.usable is not None and not self.usable.any())


def samples(x: NDArray[np.generic], y: NDArray[np.generic], *, positive: bool = False) -> Samples:
    """Put samples in order and mark what cannot be drawn: what is not finite, nor above 0 where `positive`.

    A million samples in order and without gaps are not copied.
    """
    count = min(len(x), len(y))
    xs, ys = np.asarray(x, np.float64)[:count], np.asarray(y, np.float64)[:count]
    if count and not (np.all(xs[1:] >= xs[:-1]) and np.isfinite(xs[0]) and np.isfinite(xs[-1])):
        finite = np.isfinite(xs)
        order = np.argsort(xs[finite], kind="stable")
        xs, ys = xs[finite][order], ys[finite][order]
    usable = (ys > 0) & (ys < np.inf) if positive else np.isfinite(ys)
    if usable.all():
        return Samples(xs, ys, None)
    if not np.isnan(ys[~usable]).all():
        ys = np.where(usable, ys, np.nan)
    return Samples(xs, ys, usable)


@dataclass(frozen=True)
class Bins:
    """A series by dot column; only columns that hold a sample are listed.

    Attributes:
        column: their numbers, ascending. The first may be negative and broken: the sample left of what is shown, from
            which a line comes in.
        low, high, first, last: lowest, highest, first and last value in each.
        joined: whether a line leads to it from the one before.
        outside: how many entries at the head are not columns but that sample (0 or 1).
    """

    column: Floats
    low: Floats
    high: Floats
    first: Floats
    last: Floats
    joined: Bools
    outside: int

    def scaled(self, scale: Scale) -> Bins:
        """The same with values as heights: 0 at the bottom of the picture, 1 at its top."""
        return mapped(self, scale.at)


def mapped(bins: Bins, change: Callable[[Floats], Floats]) -> Bins:
    """The same columns with other values."""
    low, high, first, last = (change(one) for one in (bins.low, bins.high, bins.first, bins.last))
    return replace(bins, low=low, high=high, first=first, last=last)


_NONE = np.empty(0)
_NOTHING = Bins(_NONE, _NONE, _NONE, _NONE, _NONE, np.empty(0, np.bool_), 0)


def binned(series: Samples, edges: Floats) -> Bins:
    """Sort samples into the dot columns between ascending `edges`, each holding its left edge and not its right."""
    starts = np.searchsorted(series.x, edges, side="left")
    column = np.flatnonzero(starts[1:] > starts[:-1])
    begin, end = starts[column], starts[column + 1]
    if not len(column):
        return _NOTHING
    # Columns without samples lie between no two of these, so the parts that reduceat sees are whole columns.
    shown, usable = series.y[: end[-1]], series.usable
    head, tail = begin, end - 1
    if usable is None:
        low, high = np.minimum.reduceat(shown, begin), np.maximum.reduceat(shown, begin)
    else:
        low, high = np.fmin.reduceat(shown, begin), np.fmax.reduceat(shown, begin)
        some = ~np.isnan(low)
        column, low, high = column[some], low[some], high[some]
        if not len(column):
            return _NOTHING
        head, tail = _ends(usable, begin[some], end[some])
    joined = np.concatenate(([head[0] > 0 and (usable is None or usable[head[0] - 1])], head[1:] == tail[:-1] + 1))
    bins = Bins(column.astype(np.float64), low, high, series.y[head], series.y[tail], joined, 0)
    return _with_outside(bins, series, edges, int(head[0])) if joined[0] else bins


def _ends(usable: Bools, begin: Places, end: Places) -> tuple[Places, Places]:
    """First and last usable sample of each part; there is one."""
    head, tail = begin.copy(), end - 1
    for part in np.flatnonzero(~usable[head]):
        head[part] += np.argmax(usable[begin[part] : end[part]])
    for part in np.flatnonzero(~usable[tail]):
        tail[part] -= np.argmax(usable[begin[part] : end[part]][::-1])
    return head, tail


def _with_outside(bins: Bins, series: Samples, edges: Floats, head: int) -> Bins:
    x, y = series.x[head - 1], series.y[head - 1 : head]
    with np.errstate(over="ignore", invalid="ignore"):
        place = (x - edges[0]) / (edges[1] - edges[0]) - 0.5
    place = max(float(np.nan_to_num(place, nan=-1.0)), -1e12)
    return Bins(
        column=np.concatenate(([min(place, -0.5)], bins.column)),
        low=np.concatenate((y, bins.low)),
        high=np.concatenate((y, bins.high)),
        first=np.concatenate((y, bins.first)),
        last=np.concatenate((y, bins.last)),
        joined=np.concatenate(([False], bins.joined)),
        outside=1,
    )


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
