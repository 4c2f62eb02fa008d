"""How far the mean of a noisy series may lie from its true mean, although its values depend on each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Of the standard normal distribution: 95 % of it lies between -Z and Z.
Z = 1.959964
# Five blocks of five: with fewer, the spread of their means says little.
LEAST_VALUES = 25


@dataclass(frozen=True)
class Mean:
    """A mean, and the half-width of its 95 % confidence interval."""

    value: float
    half_width: float

    @property
    def is_clear(self) -> bool:
        """Whether zero lies outside of the interval."""
        return abs(self.value) > self.half_width


def mean_of(values: np.ndarray) -> Mean | None:
    """The mean of a series with an interval that allows for autocorrelation; None for fewer than LEAST_VALUES values.

    The losses of neighbouring steps resemble each other, so that the usual standard error, which takes them as
    independent, is too small. This is the method of non-overlapping batch means: the series is cut into blocks of about
    the square root of its length, and the standard error follows from the spread of the means of the blocks, which
    depend on each other far less. With k blocks the interval uses Student's t with k - 1 degrees of freedom.

    Source: J. M. Flegal and G. L. Jones, "Batch means and spectral variance estimators in Markov chain Monte Carlo",
    The Annals of Statistics 38(2), 2010, pages 1034-1070, section 2.1, with blocks of floor(sqrt(n)) values.
    """
    length = math.isqrt(len(values))
    if len(values) < LEAST_VALUES:
        return None
    count = len(values) // length
    # The oldest values that fill no block are left out of the spread, not of the mean.
    means = values[-count * length :].reshape(count, length).mean(axis=1)
    error = float(means.std(ddof=1)) / math.sqrt(count)
    return Mean(float(values.mean()), t_quantile(count - 1) * error)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, within 1 % for 4 degrees of freedom or more.

    Source: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", 1964, formula 26.7.5.
    """
    return (
        Z
        + (Z**3 + Z) / (4 * freedom)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * freedom**3)
    )
