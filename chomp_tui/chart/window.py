"""Which part of x is shown, and the edges of its dot columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Window:
    """All of x, or a width that ends at the newest record and moves along with it.

    Attributes:
        width: in units of x; None shows everything.
    """

    width: float | None = None

    def zoomed(self, factor: float, first: float, last: float, closest: float) -> Window:
        """Half as wide for a factor of 2, twice as wide for 0.5; never narrower than `closest`."""
        whole = last - first
        if not (math.isfinite(whole) and whole > 0):
            return self
        width = max(min(self.width or whole, whole) / factor, closest)
        return Window(width) if width < whole else Window()

    def converted(self, old_whole: float, new_whole: float) -> Window:
        """The same share of x in another unit."""
        if self.width is None or not (old_whole > 0 and math.isfinite(new_whole / old_whole)):
            return Window()
        width = self.width * (new_whole / old_whole)
        return Window(width) if 0 < width < new_whole else Window()


def column_edges(first: float, last: float, columns: int, width: float | None = None) -> Floats:
    """Edges [columns + 1] of dot columns from `first` to `last`, or for the last `width` of it.

    A column's width is rounded up to seven binary digits and its edges are multiples of that width. So while a run
    grows, columns keep their samples: a zoomed picture moves by whole columns, and a whole one is rescaled only
    every percent of growth; the last two percent of it stay free.
    """
    if columns < 1 or first == last:
        return _around(first, max(columns, 1))
    half = last / 2 - first / 2
    finest = 4 * math.ulp(max(abs(first), abs(last)))
    each = _rounded_up(max(half / max(columns - 1, 1) * 2, finest))
    if width is not None:
        narrow = _rounded_up(max(width / columns, finest))
        if narrow / 2 * columns < half:
            return _closed(_multiples(math.floor(last / narrow) + 1 - columns, narrow, columns), last)
    made = _closed(_multiples(math.floor(first / each), each, columns), last)
    made[0] = min(made[0], first)
    return made


def _around(x: float, columns: int) -> Floats:
    each = _rounded_up(max(1.0 / columns, 4 * math.ulp(x)))
    return _closed(_multiples(math.floor(x / each) - columns // 2, each, columns), x)


def _multiples(start: int, each: float, columns: int) -> Floats:
    with np.errstate(over="ignore"):
        made: Floats = (np.arange(columns + 1, dtype=np.float64) + start) * each
    return made


def _closed(made: Floats, last: float) -> Floats:
    """The same with room for `last` where rounding left it out."""
    with np.errstate(over="ignore"):
        made[-1] = max(float(made[-1]), float(np.nextafter(last, np.inf)))
    return made


def _rounded_up(width: float) -> float:
    mantissa, exponent = math.frexp(min(width, _LARGEST / 4))
    return math.ldexp(math.ceil(mantissa * 128) / 128, exponent)
