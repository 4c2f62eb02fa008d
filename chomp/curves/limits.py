"""The range of values that a chart shows: that of the calm part of its curves, which no start and no spike flattens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chomp.curves.bins import Bins
from chomp.curves.scale import Floats

# all: nothing is clipped. together: the series are one quantity, and one of them may leave the range of the others.
# apart: each is a quantity of its own, and the calm part of each is shown.
Range = Literal["all", "together", "apart"]
# The first part of a run is warm-up. Values further from the middle half of the others than twice its width are
# extreme (Tukey, Exploratory Data Analysis, 1977: "far out").
WARM_UP = 0.1
REACH = 2.0
# Fewer columns say nothing about what is usual; less gain is not worth a clipped value.
LEAST_COLUMNS = 8
LEAST_GAIN = 1.5
# The newest values are shown, unless they have risen so far that the rest would be flat.
MOST_RISE = 5.0
# As many times the range of the others may evaluations be above it and still be shown: a run that has learnt its text
# by heart is far below its evaluations, and they are what counts.
MOST_GAP = 1000.0


@dataclass(frozen=True)
class Limits:
    """The least and greatest value shown."""

    low: float
    high: float


def limits(
    bins: Sequence[Bins], warm_columns: float, shown: Range, *, log: bool, kept: Sequence[bool] | None = None
) -> Limits | None:
    """The range to show of series; None where no column of any holds a value.

    Args:
        warm_columns: columns at the left that belong to the warm-up.
        log: whether values are compared by their logarithms.
        kept: for each series, whether its values after the warm-up are shown wherever they are, as evaluations of one
            run are; such a series does not say what is usual, and the calm part of each other one is shown.
    """
    pairs = zip(bins, kept or [False] * len(bins), strict=True)
    known_bins = [(one, is_kept) for one, is_kept in pairs if len(one.column) > one.outside]
    if not known_bins:
        return None
    filled = [one for one, _ in known_bins]
    usual, beside = ([one for one, is_kept in known_bins if is_kept is wanted] for wanted in (False, True))
    if not usual:
        usual, beside = beside, []
    least = float(min(one.low[one.outside :].min() for one in filled))
    greatest = float(max(one.high[one.outside :].max() for one in filled))
    low, high = (math.log10(least), math.log10(greatest)) if log else (least, greatest)
    groups = [[one] for one in usual] if shown == "apart" or beside else [usual]
    calm = [] if shown == "all" else [_calm(group, warm_columns, log) for group in groups]
    known = [one for one in calm if one is not None]
    if known and len(known) == len(calm):
        calm_low, calm_high = min(one[0] for one in known), max(one[1] for one in known)
        calm_low, calm_high = _widened(calm_low, calm_high, beside, warm_columns, log)
        if high / 2 - low / 2 > LEAST_GAIN * (calm_high / 2 - calm_low / 2):
            return Limits(10**calm_low, 10**calm_high) if log else Limits(calm_low, calm_high)
    return Limits(least, greatest)


def clipped(values: Iterable[Floats], low: float, high: float) -> str:
    """How many values are above and below a range: `▲ 12 clipped`; empty if it shows all."""
    above = below = 0
    for one in values:
        above += int(np.count_nonzero(one > high))
        below += int(np.count_nonzero(one < low))
    parts = [f"▲ {above:,}"] * bool(above) + [f"▼ {below:,}"] * bool(below)
    return f"{' '.join(parts)} clipped" if parts else ""


def _even(values: Floats, log: bool) -> Floats:
    return np.log10(values) if log else values


def _calm(group: Sequence[Bins], warm_columns: float, log: bool) -> tuple[float, float] | None:
    """The range of a quantity without extreme values; None where too few values are known."""
    columns = np.concatenate([one.column[one.outside :] for one in group])
    lows = _even(np.concatenate([one.low[one.outside :] for one in group]), log)
    highs = _even(np.concatenate([one.high[one.outside :] for one in group]), log)
    late = columns >= warm_columns
    if np.count_nonzero(late) < LEAST_COLUMNS:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        quarter, three_quarters = np.quantile(np.concatenate((lows[late], highs[late])), (0.25, 0.75))
        reach = REACH * (three_quarters - quarter)
    if not (0 < reach < np.inf):
        return None
    values = np.concatenate((lows, highs))
    inside = values[(values >= quarter - reach) & (values <= three_quarters + reach)]
    low, high = float(inside.min()), float(inside.max())
    for one in group:
        newest_low, newest_high = _newest(one, log)
        low = min(low, newest_low)
        if newest_high / 2 - low / 2 <= MOST_RISE * (high / 2 - low / 2):
            high = max(high, newest_high)
    return low, high


def _widened(low: float, high: float, beside: Sequence[Bins], warm_columns: float, log: bool) -> tuple[float, float]:
    """A range that also has what is to be shown in any case."""
    most = high / 2 + MOST_GAP * (high / 2 - low / 2)
    for one in beside:
        late = one.column >= warm_columns
        late = late if late.any() else np.arange(len(one.column)) == len(one.column) - 1
        lows, highs = _even(one.low[late], log), _even(one.high[late], log)
        low = min(low, float(lows.min()))
        high = max([high, *highs[highs / 2 <= most].tolist()])
    return low, high


def _newest(one: Bins, log: bool) -> tuple[float, float]:
    """Where the curve is at its end: medians over the last twentieth of its columns."""
    some = max(1, (len(one.column) - one.outside) // 20)
    return float(np.median(_even(one.low[-some:], log))), float(np.median(_even(one.high[-some:], log)))
