"""Exponential smoothing of long series, without a Python loop over the samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_BLOCK = 64


def ema(y: ArrayLike, weight: float) -> Floats:
    """Bias-corrected exponential moving average.

    `m = weight * m + (1 - weight) * y`, divided by `1 - weight ** n` after n samples, so that the first values are
    averages of what there is and not pulled towards 0. A sample that is not finite gives NaN at its own place and
    leaves the average untouched.

    Args:
        weight: in [0, 1); 0 gives the finite samples back.
    """
    return Smoother(weight).extend(y)


class Smoother:
    """The average of `ema`, kept, so that appended samples alone need work.

    `Smoother(w).extend(a)` followed by `.extend(b)` gives what `ema` gives for `a` and `b` in one array.
    """

    def __init__(self, weight: float):
        if not 0 <= weight < 1:
            raise ValueError(f"the weight of an average must be at least 0 and below 1, got {weight}")
        self._weight = float(weight)
        self._mean = 0.0
        self._count = 0

    def extend(self, y: ArrayLike) -> Floats:
        """The averages at these further samples."""
        samples = np.asarray(y, dtype=np.float64)
        smoothed = np.full(samples.shape, np.nan)
        usable = np.isfinite(samples)
        values = samples[usable]
        if not values.size:
            return smoothed
        with np.errstate(under="ignore"):
            raw = _recursion((1 - self._weight) * values, self._weight, self._mean)
            smoothed[usable] = raw / self._correction(len(values))
        self._mean = float(raw[-1])
        self._count += len(values)
        return smoothed

    def _correction(self, count: int) -> Floats:
        """`1 - weight ** n` for the next `count` samples; 1 as soon as doubles cannot tell the difference."""
        correction = np.ones(count)
        if self._weight > 0:
            settled = math.ceil(-40 / math.log(self._weight)) - self._count
            n = np.arange(1, min(count, max(0, settled)) + 1) + self._count
            correction[: len(n)] = -np.expm1(n * math.log(self._weight))
        return correction


def _recursion(values: Floats, weight: float, start: float) -> Floats:
    """`m[i] = weight * m[i - 1] + values[i]` with `m[-1] = start`: blocks as one product, their ends recursively."""
    count = len(values)
    lags = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)[None, :]
    within = np.where(lags >= 0, np.power(weight, np.maximum(lags, 0)), 0.0)
    decay = np.power(weight, np.arange(1, _BLOCK + 1))
    if count <= _BLOCK:
        return within[:count, :count] @ values + start * decay[:count]
    blocks = np.zeros((-(-count // _BLOCK), _BLOCK))
    blocks.reshape(-1)[:count] = values
    means = blocks @ within.T
    ends = _recursion(np.ascontiguousarray(means[:, -1]), float(decay[-1]), start)
    means += np.concatenate(([start], ends[:-1]))[:, None] * decay
    return means.reshape(-1)[:count]
