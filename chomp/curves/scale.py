"""Axes: positions of values, ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chomp.record.formatting import duration

Floats = NDArray[np.float64]
_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True)
class Scale:
    """A value axis from `low` to `high` (both above 0 where `log`); equal ends are in the middle."""

    low: float
    high: float
    log: bool = False

    def at(self, values: Floats | float) -> Floats:
        """Heights of values: 0 at `low`, 1 at `high`, outside of that beyond; NaN stays NaN."""
        with np.errstate(all="ignore"):
            low, high, given = self._even(self.low), self._even(self.high), self._even(values)
            span = high - low
            if not span > 0:
                return np.where(given == low, 0.5, np.where(given > low, 9.0, np.where(given < low, -9.0, np.nan)))
            return np.asarray((given - low) / span)

    def _even(self, values: Floats | float) -> Floats:
        # Halves cannot overflow when one is taken from the other.
        array = np.asarray(values, np.float64)
        return np.log10(array) if self.log else array / 2


@lru_cache(maxsize=256)
def nice_ticks(low: float, high: float, most: int, *, wanted: int | None = None, whole: bool = False) -> Floats:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`: at most `most`, and about `wanted`.

    Cached: charts below each other share an axis, and most axes do not change from frame to frame.

    Args:
        wanted: the number to come close to; as many as allowed where not given.
        whole: whether only whole numbers may be ticks.
    """
    span = high / 2 - low / 2
    if most < 1 or not span > 0 or not math.isfinite(span):
        return np.array([low]) if most >= 1 and math.isfinite(low) else np.empty(0)
    wanted = most if wanted is None else min(wanted, most)
    choices = [ticks for step in _steps(span, most) if len(ticks := _multiples(low, high, step, whole))]
    fitting = [ticks for ticks in choices if len(ticks) <= most]
    if fitting:
        return min(fitting, key=lambda ticks: (abs(len(ticks) - wanted), -len(ticks)))
    coarsest = min(choices, key=len, default=np.empty(0))
    return coarsest[len(coarsest) // 2 :][:1]


def _steps(half_span: float, most: int) -> Iterator[float]:
    exponent = math.floor(math.log10(max(half_span / most, 5e-324))) - 1
    for power in range(exponent, exponent + 5 + len(str(most))):
        for mantissa in (1, 2, 5):
            yield float(f"{mantissa}e{power}")


def _multiples(low: float, high: float, step: float, whole: bool) -> Floats:
    if not (0 < step < math.inf) or (whole and step < 1):
        return np.empty(0)
    first, last = low / step, high / step
    if not (math.isfinite(first) and math.isfinite(last)) or abs(first) > 2**52 or abs(last) > 2**52:
        return np.empty(0)
    # Quotients may miss a whole number by a hair; ticks outside are dropped below.
    first, last = math.ceil(first - 1e-9), math.floor(last + 1e-9)
    if last - first > 1000:
        return np.zeros(1001)
    # Dividing by a power of ten is exact where multiplying by its inverse is not: 3 / 10, not 3 * 0.1.
    numbers = np.arange(first, last + 1, dtype=np.float64)
    with np.errstate(all="ignore"):
        made = numbers / (1 / step) if step < 1 and (1 / step).is_integer() else numbers * step
    made = made[np.isfinite(made) & (made >= low) & (made <= high)]
    return made + 0.0


def clock_ticks(low: float, high: float, most: int) -> Floats:
    """Round times (1, 2, 5, 10, 15, 30 s, min, …) between two durations in seconds: at most `most`."""
    for step in _CLOCK:
        made = _multiples(low, high, float(step), whole=True)
        if len(made) <= most:
            return made
    return nice_ticks(low, high, most, whole=True)


def labels(ticks: Sequence[float] | Floats) -> list[str]:
    """Texts for the ticks of one axis, short and all different: `0`, `3.2`, `1e-4`, `1.2M`."""
    return list(_labels(tuple(float(tick) for tick in ticks)))


@lru_cache(maxsize=256)
def _labels(values: tuple[float, ...]) -> list[str]:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    styles = [_suffixed] if 1e4 <= largest < 1e15 else []
    if largest > 0 and not 1e-3 <= largest < 1e15:
        styles += [_scientific]
    slack = _slack(values)
    for style in (*styles, _plain, _scientific):
        for digits in range(17):
            texts = [_short(style(value, largest, digits)) if math.isfinite(value) else str(value) for value in values]
            exact = all(_close(_read(text), value, slack) for text, value in zip(texts, values, strict=True))
            if exact and len(set(texts)) == len(set(values)) and max(map(len, texts), default=0) <= 9:
                return texts
    if len(values) == 1:
        return [number(values[0])]
    for digits in range(6, 16):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)) and all(
            _close(float(text), value, slack) for text, value in zip(texts, values, strict=True)
        ):
            return texts
    return [repr(value) for value in values]


def _slack(values: tuple[float, ...]) -> float:
    """By how much a label may miss its tick: a thousandth of the least distance between two ticks."""
    inner = sorted({value for value in values if math.isfinite(value)})
    return min((high / 1e3 - low / 1e3 for low, high in pairwise(inner)), default=math.inf)


def _plain(value: float, largest: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _suffixed(value: float, largest: float, digits: int) -> str:
    unit, suffix = next(item for item in _SUFFIXES if largest >= item[0])
    return f"{value / unit:.{digits}f}{suffix}" if value else "0"


def _scientific(value: float, largest: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def _short(text: str) -> str:
    return "0" if text.strip("-0.") == "" else text


def _read(text: str) -> float:
    """The value that a label says."""
    factor = next((unit for unit, suffix in _SUFFIXES if text.endswith(suffix)), 1.0)
    return float(text.rstrip("TBMk")) * factor


def _close(read: float, value: float, slack: float) -> bool:
    """Whether a label reads as the tick's value, but for rounding."""
    return read == value or abs(read - value) <= max(min(1e-12 * abs(value), slack), 4 * math.ulp(value))


def number(value: float) -> str:
    """A value read off the chart, five digits wide: `3.2143`, `1.234e-4`, `12,346`, `1.235M`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e15:
        return _scientific(value, size, 3)
    if size >= 1e6:
        return _suffixed(value, size, 3)
    if size >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.{max(0, min(4, 4 - math.floor(math.log10(size))))}f}"


def whole_number(value: float) -> str:
    """A step or a token count in full, `12,400`; other values as `number` writes them."""
    return f"{value:,.0f}" if abs(value) < 1e15 and value == round(value) else number(value)


def clock(seconds: float) -> str:
    """Seconds as `41s`, `3m05s`, `3h05m`; the sign stays."""
    if not abs(seconds) < 1e15:
        return number(seconds)
    return f"-{duration(-seconds)}" if seconds < 0 else duration(seconds)


def x_ticks(
    low: float, high: float, columns: int, *, time: bool, whole: bool, text: Callable[[float], str] | None
) -> list[tuple[float, str]]:
    """Ticks of the horizontal axis with their texts, as many as `x_tick_choices` has at most."""
    return next(x_tick_choices(low, high, columns, time=time, whole=whole, text=text), [])


def x_tick_choices(
    low: float, high: float, columns: int, *, time: bool, whole: bool, text: Callable[[float], str] | None
) -> Iterator[list[tuple[float, str]]]:
    """Ticks of the horizontal axis with their texts, which fit side by side with two columns between: most first.

    Args:
        time: whether x is seconds.
        whole: whether fractions make no sense, as with steps.
        text: how to write a tick, instead of the usual.
    """
    for most in range(max(1, min(3, columns // 4), min(12, columns // 8)), 0, -1):
        ticks = clock_ticks(low, high, most) if time else nice_ticks(low, high, most, whole=whole)
        texts = (
            [text(float(tick)) for tick in ticks] if text else ([clock(t) for t in ticks] if time else labels(ticks))
        )
        if sum(len(one) + 2 for one in texts) <= columns + 2 and len(set(texts)) == len(texts):
            yield list(zip(map(float, ticks), texts, strict=True))
