"""Exponential smoothing of long series over their x, without a Python loop over the samples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from chomp.curves.scale import Floats

# The losses of several runs are averaged over this share of the steps of the longest.
_SHARED = 1 / 50
# Small enough for the arrays of a block to stay in the processor's cache.
_BLOCK = 8192
# Samples of less weight are left out.
_LEAST = 1e-30


def smoothed(x: ArrayLike, y: ArrayLike, span: float) -> Floats:
    """Average of each sample and those before it, each weighted by `exp(-distance / span)`.

    The distance is that of x (steps), so that the result does not depend on how often a run logs. The first values are
    averages of what there is. A sample that is not finite gives NaN at its own place and is left out of the others.

    Args:
        x: ascending, as long as y.
        span: in units of x, above 0; 0 gives the finite samples back.
    """
    return Smoother(span).extend(x, y)


def shared_span(steps: Iterable[Floats]) -> int:
    """Steps that the losses of several runs, given by their steps, are averaged over; 0 for none if all are short."""
    longest = max((float(one[-1] - one[0]) for one in steps if len(one)), default=0.0)
    span = round(longest * _SHARED)
    return span if span > 1 else 0


class Smoother:
    """The average of `smoothed`, kept, so that appended samples alone need work.

    `extend` of two parts in turn gives what `smoothed` gives for both in one array.
    """

    def __init__(self, span: float):
        if not 0 <= span < np.inf:
            raise ValueError(f"the span of an average must be at least 0 and finite, got {span}")
        self._span = float(span)
        self._total = self._weight = 0.0
        self._x: float | None = None

    def extend(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """The averages at these further samples."""
        places, samples = np.asarray(x, np.float64), np.asarray(y, np.float64)
        usable = np.isfinite(samples)
        if not len(samples):
            return np.empty(0)
        if self._span == 0:
            return np.where(usable, samples, np.nan)
        gaps = np.diff(places, prepend=places[0] if self._x is None else self._x)
        self._x = float(places[-1])
        with np.errstate(under="ignore", over="ignore", invalid="ignore"):
            decay = np.exp(-np.maximum(np.nan_to_num(gaps), 0) / self._span)
        totals, weights = np.where(usable, samples, 0.0), usable.astype(np.float64)
        for start in range(0, len(samples), _BLOCK):
            part = slice(start, start + _BLOCK)
            _accumulate(decay[part], totals[part], weights[part], self._total, self._weight)
            self._total, self._weight = float(totals[part][-1]), float(weights[part][-1])
        with np.errstate(all="ignore"):
            return np.where(usable, totals / weights, np.nan)


def _accumulate(decay: Floats, totals: Floats, weights: Floats, total: float, weight: float) -> None:
    """`v[i] += decay[i] * v[i - 1]` in place, for totals and weights, with the last values before the block.

    Each round doubles the number of samples that are summed (Hillis and Steele, 1986).
    """
    reach, distance = decay.copy(), 1
    with np.errstate(all="ignore"):
        while distance < len(decay) and reach[distance:].max() > _LEAST:
            # The right sides are whole before anything is written.
            totals[distance:] += reach[distance:] * totals[:-distance]
            weights[distance:] += reach[distance:] * weights[:-distance]
            reach[distance:] = reach[distance:] * reach[:-distance]
            distance *= 2
        totals += reach * total
        weights += reach * weight
