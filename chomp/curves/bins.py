"""Samples by column: the least and greatest value of what falls into each, so that spikes survive any decimation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chomp.curves.scale import Floats, Scale

Bools = NDArray[np.bool_]
Places = NDArray[np.intp]


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
