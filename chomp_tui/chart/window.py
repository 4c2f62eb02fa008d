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
    """All of x, or a part of it.

    Attributes:
        width: in units of x; None shows everything.
        end: its right end; None is the newest record, with which the part moves along.
    """

    width: float | None = None
    end: float | None = None

    def span(self, first: float, last: float) -> tuple[float, float]:
        """Its ends, in data from `first` to `last`."""
        if self.width is None:
            return first, last
        # The end may be that of other data.
        right = last if self.end is None else max(min(self.end, last), min(first + self.width, last))
        return right - self.width, right

    def zoomed(self, factor: float, first: float, last: float, closest: float, at: float | None = None) -> Window:
        """Half as wide for a factor of 2, twice as wide for 0.5; never narrower than `closest`.

        Args:
            at: what stays where it is; None for the right end.
        """
        whole = last - first
        if not (math.isfinite(whole) and whole > 0):
            return self
        left, right = self.span(first, last)
        width = max(min(right - left, whole) / factor, closest)
        if not width < whole:
            return Window()
        fixed = right if at is None or not left <= at <= right else at
        return _placed(fixed + (right - fixed) * width / (right - left), width, first, last)

    def panned(self, share: float, first: float, last: float) -> Window:
        """Moved by a share of its width: to newer records where above 0; the newest record is followed again."""
        if self.width is None:
            return self
        _, right = self.span(first, last)
        return _placed(right + share * self.width, self.width, first, last)

    def converted(self, old: tuple[float, float], new: tuple[float, float]) -> Window:
        """The same share of x in another unit, of which `new` are the ends."""
        whole, other = old[1] - old[0], new[1] - new[0]
        if self.width is None or not (whole > 0 and math.isfinite(other / whole)):
            return Window()
        width = self.width * (other / whole)
        if not 0 < width < other:
            return Window()
        return Window(width, None if self.end is None else new[0] + (self.end - old[0]) * (other / whole))


def _placed(right: float, width: float, first: float, last: float) -> Window:
    right = max(right, first + width)
    return Window(width) if right >= last else Window(width, right)


def column_edges(first: float, last: float, columns: int, window: Window = Window()) -> Floats:
    """Edges [columns + 1] of dot columns from `first` to `last`, or for a part of it.

    A column's width is rounded up to seven binary digits and its edges are multiples of that width. So while a run
    grows, columns keep their samples: a zoomed picture moves by whole columns, and a whole one is rescaled only
    every percent of growth; the last two percent of it stay free.
    """
    if columns < 1 or first == last:
        return _around(first, max(columns, 1))
    half = last / 2 - first / 2
    finest = 4 * math.ulp(max(abs(first), abs(last)))
    each = _rounded_up(max(half / max(columns - 1, 1) * 2, finest))
    if window.width is not None:
        narrow = _rounded_up(max(window.width / columns, finest))
        if narrow / 2 * columns < half:
            _, right = window.span(first, last)
            return _closed(_multiples(math.floor(right / narrow) + 1 - columns, narrow, columns), right)
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
