"""Ranges, ticks and labels of a report's charts, and long series thinned to what a chart can show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chomp.record.formatting import count, duration

# Values before this share of x do not set the range: a loss begins far above where it stays.
SETTLING_SHARE = 0.05
LEAST_SETTLED = 20
# The share of settled values, the greatest, that the range leaves out.
TAIL = 0.005
MARGIN = 0.05


@dataclass(frozen=True)
class Range:
    """The values that an axis shows."""

    low: float
    high: float

    def at(self, values: np.ndarray) -> np.ndarray:
        """Places of values: 0 at `low`, 1 at `high`."""
        return np.asarray((np.asarray(values, np.float64) - self.low) / (self.high - self.low))

    def outside(self, values: np.ndarray) -> int:
        """How many finite values it does not show."""
        values = values[np.isfinite(values)]
        return int(np.count_nonzero((values < self.low) | (values > self.high)))


def whole_range(values: Iterable[np.ndarray]) -> Range | None:
    """All finite values; None where there are none."""
    finite = [one[np.isfinite(one)] for one in values]
    found = np.concatenate(finite) if finite else np.empty(0)
    return _widened(float(found.min()), float(found.max())) if len(found) else None


def value_range(lines: Iterable[tuple[np.ndarray, np.ndarray]], *, from_zero: bool = False) -> Range | None:
    """A range of y that shows all values after the first part of x but the greatest; None where no value is finite."""
    settled = [_settled(x, y) for x, y in lines]
    found = np.concatenate(settled) if settled else np.empty(0)
    if not len(found):
        return None
    low, high = float(found.min()), float(np.quantile(found, 1 - TAIL))
    wide = _widened(low, high)
    pad = MARGIN * (wide.high - wide.low)
    return Range(0.0 if from_zero and low >= 0 else wide.low - pad, wide.high + pad)


def _settled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite].astype(np.float64)
    if not len(x):
        return y
    kept = y[x >= x[0] + SETTLING_SHARE * (x[-1] - x[0])]
    return kept if len(kept) >= LEAST_SETTLED else y


def _widened(low: float, high: float) -> Range:
    """The range, or one around a single value: an axis needs two ends that differ."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return Range(low, high)
    room = abs(low) * 0.1 or 1.0
    return Range(low - room, high + room)


def ticks(shown: Range, most: int) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten, inside the range."""
    span = shown.high - shown.low
    if not math.isfinite(span) or span <= 0:
        return []
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1 or factor == 20)
    first, last = math.ceil(shown.low / step - 1e-9), math.floor(shown.high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def label(value: float, unit: str = "") -> str:
    """A tick in a few characters.

    Args:
        unit: `seconds` for times, `count` for counts; else a plain number.
    """
    if unit == "seconds":
        return duration(value)
    if unit == "count" and abs(value) < 1e12:
        return f"{value / 1e3:g}k" if 1e4 <= abs(value) < 1e6 and value % 100 == 0 else _without_zeros(count(value))
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def _without_zeros(text: str) -> str:
    """`1.20B` as `1.2B`."""
    number, unit = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + unit


def mean_of_last(y: np.ndarray, rows: int) -> np.ndarray:
    """The mean of the last finite values among `rows`; NaN where a value is not finite."""
    values = y.astype(np.float64)
    finite = np.isfinite(values)
    sums = np.cumsum(np.where(finite, values, 0.0))
    counts = np.cumsum(finite)
    sums[rows:], counts[rows:] = sums[rows:] - sums[:-rows], counts[rows:] - counts[:-rows]
    return np.where(finite, sums / np.maximum(counts, 1), np.nan)


def thinned(x: np.ndarray, y: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A series with at most the least and the greatest value of each column, so that every spike stays.

    Args:
        x: ascending; pairs without a finite x are left out. NaN in y stays where a column has nothing else.
    """
    kept = np.isfinite(x)
    x, y = x[kept].astype(np.float64), np.where(np.isfinite(y[kept]), y[kept], np.nan).astype(np.float64)
    if len(x) <= 2 * columns:
        return x, y
    place = np.minimum(((x - x[0]) / max(x[-1] - x[0], 1e-300) * columns).astype(np.int64), columns - 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    return np.repeat(x[starts], 2), np.stack([low, high], axis=1).ravel()
