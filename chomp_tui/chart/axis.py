"""The vertical axis: a scale on which every tick is in the middle of a row of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chomp.curves.bins import Bools
from chomp.curves.scale import Floats, Scale, labels, nice_ticks
from chomp_tui.chart.raster import dot_rows

# Rows from one tick to the next. 3 is airy and 2 the least for labels on rows of their own.
_STRIDES = (2, 3, 4, 5)
_STEPS = ((1.0, 1.0), (2.0, 1.0), (2.5, 1.1), (5.0, 1.0))
# On fewer rows, whole steps would leave too much of the height unused.
_LEAST_ROWS = 5
# A logarithmic tick may miss the middle of its row by less than a braille dot.
_NEAR = 0.2


@dataclass(frozen=True)
class Axis:
    """A scale, and its ticks as (row of cells from the top, label)."""

    scale: Scale
    ticks: tuple[tuple[int, str], ...] = ()


@lru_cache(maxsize=128)
def axis(low: float, high: float, rows: int, down: int, *, log: bool = False) -> Axis:
    """An axis over at least `low` to `high` (both above 0 where `log`) on so many rows of cells.

    Args:
        down: dots per row of cells; the ends of the scale are the middles of the lowest and the highest dot.
    """
    if not low < high:
        middle = round((rows * down - 1) / 2) // down
        return Axis(Scale(low, high, log=log), ((middle, labels([low])[0]),) if rows else ())
    half = high / 2 - low / 2
    # Fifteen digits place a tick to a hundredth of a row in ranges as narrow as this; narrower ones have no ticks.
    if not 1e-300 < half < 1e300 or half < 1e-11 * max(abs(low), abs(high)):
        return Axis(Scale(low, high, log=log))
    if rows < _LEAST_ROWS:
        return _tight(Scale(low, high, log=log), rows, down)
    if log and not (low > 1e-300 and high < 1e300):
        return Axis(Scale(low, high, log=True))
    if not log:
        rungs = _rungs(low, high, rows, down)
        return Axis(Scale(low, high)) if rungs is None else rungs.axis(rows, down)
    first, last = _rounded_out(math.log10(low), math.log10(high))
    if last - first > rows / 5:
        rungs = _rungs(first, last, rows, down, whole=True)
        if rungs is not None:
            return rungs.axis(rows, down, log=True)
    return _logarithmic(first, last, rows, down)


def _tight(scale: Scale, rows: int, down: int) -> Axis:
    """All the height, with one or two ticks on the rows next to them."""
    ticks = nice_ticks(scale.low, scale.high, (rows + 1) // 2)
    places = dot_rows(scale.at(ticks), rows * down) // down
    distinct = len(set(places.tolist())) == len(ticks)
    return Axis(scale, _labelled(ticks.tolist(), places.tolist()) if distinct else ())


@dataclass(frozen=True)
class _Rungs:
    """Rows at multiples of `step / stride`, every `stride`-th with a tick; the lowest is row number `bottom`."""

    step: float
    stride: int
    bottom: int

    def axis(self, rows: int, down: int, *, log: bool = False) -> Axis:
        each = self.step / self.stride
        low = (self.bottom - _edge(down)) * each
        high = low + (rows - 1 / down) * each
        numbers = [number for number in range(self.bottom, self.bottom + rows) if number % self.stride == 0]
        # Fifteen digits take back what a product of decimal fractions adds: 3 * 0.1.
        values = [float(f"{number // self.stride * self.step:.15g}") for number in numbers]
        if not log:
            return Axis(Scale(low, high), _labelled(values, [rows - 1 - (one - self.bottom) for one in numbers]))
        kept = [(value, one) for value, one in zip(values, numbers, strict=True) if abs(value) <= 300]
        powers = [float(f"1e{round(value)}") for value, _ in kept]
        scale = Scale(10 ** max(low, -307.0), 10 ** min(high, 308.0), log=True)
        return Axis(scale, _labelled(powers, [rows - 1 - (one - self.bottom) for _, one in kept]))


def _labelled(values: list[float], rows: list[int]) -> tuple[tuple[int, str], ...]:
    return tuple(zip(rows, labels(values), strict=True))


def _edge(down: int) -> float:
    """Rows from the middle of a cell to that of its outermost dot."""
    return 0.5 - 0.5 / down


def _rungs(low: float, high: float, rows: int, down: int, *, whole: bool = False) -> _Rungs | None:
    """The rows that leave the least of the height unused; with whole steps only where `whole`."""
    best: tuple[float, _Rungs] | None = None
    ideal = 3 if rows >= 9 else 2
    for stride in _STRIDES:
        if stride > max(3, rows // 2):
            continue
        power = math.floor(math.log10((high / 2 - low / 2) / rows * stride)) - 1
        steps = ((float(f"{one}e{exponent}"), cost) for exponent in range(power, power + 4) for one, cost in _STEPS)
        for step, price in steps:
            each = step / stride
            if (whole and step % 1) or each == 0 or max(abs(low), abs(high)) / each > 2**50:
                continue
            # The margin covers the rounding of the quotients.
            lowest = math.floor(low / each + _edge(down) - 1e-6)
            highest = math.ceil(high / each - _edge(down) + 1e-6)
            spare = rows - (highest - lowest + 1)
            if spare >= 0:
                below = spare // 2 if low < 0 or whole else min(spare // 2, max(lowest, 0))
                cost = each * (1 + 0.1 * abs(stride - ideal)) * price
                if best is None or cost < best[0]:
                    best = cost, _Rungs(step, stride, lowest - below)
                if price == 1:
                    break
    return best[1] if best else None


def _rounded_out(first: float, last: float) -> tuple[float, float]:
    """The same on a grid, so that an axis stays as it is while its ends move a little."""
    grid = 2.0 ** (math.floor(math.log2(last - first)) - 6)
    return math.floor(first / grid) * grid, math.ceil(last / grid) * grid


def _logarithmic(first: float, last: float, rows: int, down: int) -> Axis:
    """An axis of at most a few decades: so many rows per decade, and so high, that round numbers are on rows."""
    edge, most = _edge(down), (rows - 1 + 2 * _edge(down)) / (last - first)
    # Whole numbers put powers of ten on rows.
    each = np.union1d(np.linspace(0.8 * most, most, 24), np.arange(math.ceil(0.8 * most), math.floor(most) + 1)[-24:])
    each, shift = (one.ravel() for one in np.meshgrid(each, np.linspace(0, 1, 8, endpoint=False)))
    bottom = np.floor(first * each - shift + edge - 1e-6)
    spare = rows - 1 - (np.ceil(last * each - shift - edge + 1e-6) - bottom)
    each, shift, bottom = each[spare >= 0], shift[spare >= 0], (bottom - spare // 2)[spare >= 0]
    best: tuple[float, Floats, int] | None = None
    for values in _round_numbers(first, last, rows) if len(each) else []:
        gaps, on_row = _gaps(values, each, shift, bottom, rows)
        cost = gaps / rows - 0.5 * each / most
        index = int(np.argmin(cost))
        if best is None or cost[index] < best[0]:
            best = float(cost[index]), values[on_row[index]], index
    if best is None:
        return Axis(Scale(10**first, 10**last, log=True))
    _, values, index = best
    per_row, offset = 1 / float(each[index]), float(bottom[index] + shift[index])
    scale = Scale(10 ** ((offset - edge) * per_row), 10 ** ((offset + rows - 1 + edge) * per_row), log=True)
    kept: list[tuple[int, float]] = []
    for value in values.tolist():
        row = rows - 1 - round(math.log10(value) / per_row - offset)
        if 0 <= row < rows and (not kept or kept[-1][0] - row >= 2):
            kept.append((row, value))
    return Axis(scale, _labelled([value for _, value in kept], [row for row, _ in kept]))


def _gaps(values: Floats, each: Floats, shift: Floats, bottom: Floats, rows: int) -> tuple[Floats, Bools]:
    """For each axis its most rows in a row without a tick, and which of ascending values are on rows."""
    places = np.log10(values)[None, :] * each[:, None] - shift[:, None]
    on_row: Bools = np.abs(places - np.rint(places)) <= _NEAR
    reached = np.maximum.accumulate(np.where(on_row, places, bottom[:, None] - 1), axis=1)
    before = np.concatenate((bottom[:, None] - 1, reached), axis=1)
    ends = np.concatenate((np.where(on_row, places, -np.inf), (bottom + rows)[:, None]), axis=1)
    return (ends - before).max(axis=1), on_row


def _round_numbers(first: float, last: float, rows: int) -> list[Floats]:
    """Families of round numbers between two powers of ten, each with room for its labels."""
    low, high, most = 10**first, 10**last, max(2, (rows + 1) // 2)
    powers = range(math.floor(first), math.ceil(last) + 1)
    digits = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), tuple(range(1, 10)))
    decades = [np.array([float(f"{digit}e{power}") for power in powers for digit in some]) for some in digits]
    found = [one[(one >= low) & (one <= high)] for one in decades]
    found += [nice_ticks(low, high, most, wanted=wanted) for wanted in (3, 5, 8)]
    return [one for one in found if 1 <= len(one) <= 2 * most]
