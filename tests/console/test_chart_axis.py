"""The vertical axis: ticks in the middles of rows, and the range that it spans."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp_tui.chart.axis import axis
from chomp_tui.chart.limits import Range, limits
from chomp_tui.chart.raster import Bins, binned, dot_rows, samples
from chomp_tui.chart.scale import Scale
from chomp_tui.chart.window import column_edges

FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(5e-324, allow_infinity=False)


def read(text: str) -> float:
    """The value that a label says."""
    factor = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1.0)
    return float(text.rstrip("kMBT")) * factor


def off_row(scale: Scale, value: float, row: int, rows: int, down: int) -> float:
    """By how many rows a value misses the middle of a row."""
    dots = (1 - float(scale.at(value))) * (rows * down - 1)
    return abs((dots - (down - 1) / 2) / down - row)


@settings(deadline=None, max_examples=300)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(5, 60), st.sampled_from([4, 2]))
def test_every_linear_tick_is_in_the_middle_of_its_row(low: float, extent: float, rows: int, down: int) -> None:
    high = low + extent
    made = axis(low, high, rows, down)
    assert made.scale.low <= low < high <= made.scale.high
    assert made.scale.high - made.scale.low <= 3.2 * (high - low)
    assert len({b - a for (b, _), (a, _) in pairwise(made.ticks)}) <= 1, "evenly spaced"
    for row, text in made.ticks:
        assert off_row(made.scale, read(text), row, rows, down) < 0.01


@settings(deadline=None, max_examples=300)
@given(st.floats(1e-9, 1e9), st.floats(1.02, 1e6), st.integers(5, 60), st.sampled_from([4, 2]))
def test_every_logarithmic_tick_is_within_a_dot_of_the_middle(low: float, times: float, rows: int, down: int) -> None:
    made = axis(low, low * times, rows, down, log=True)
    assert made.scale.low <= low * (1 + 1e-9)
    assert low * times <= made.scale.high * (1 + 1e-9)
    for row, text in made.ticks:
        assert off_row(made.scale, read(text), row, rows, down) <= 0.21


@settings(deadline=None)
@given(FINITE, FINITE, st.integers(0, 60), st.booleans())
def test_any_range_has_an_axis(one: float, other: float, rows: int, log: bool) -> None:
    low, high = sorted((one, other))
    if log and low <= 0:
        return
    made = axis(low, high, rows, 4, log=log)
    assert all(0 <= row < rows for row, _ in made.ticks)
    assert all(later < earlier for (earlier, _), (later, _) in pairwise(made.ticks))
    assert len({text for _, text in made.ticks}) == len(made.ticks)
    if rows and low < high:
        assert np.all(
            (made.scale.at(np.array([low, high])) >= -1e-9) & (made.scale.at(np.array([low, high])) <= 1 + 1e-9)
        )


@pytest.mark.parametrize(
    ("low", "high", "rows", "log", "wanted"),
    [
        (2.41, 3.12, 16, False, ["2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "3.0", "3.1"]),
        (0, 48_000, 12, False, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (-1, 1, 9, False, ["-1.0", "-0.5", "0", "0.5", "1.0"]),
        (1.0, 1e8, 20, True, [f"1e{power}" for power in range(10)]),
        (0.1, 100, 24, True, ["0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "10.0", "20.0", "50.0", "100.0"]),
        (2.4, 3.2, 16, True, ["2.4", "2.6", "2.8", "3.0"]),
        (2.5, 4e17, 16, True, ["1e0", "1e5", "1e10", "1e15"]),
        (3.25, 3.25, 9, False, ["3.25"]),
    ],
)
def test_ticks_are_round(low: float, high: float, rows: int, log: bool, wanted: list[str]) -> None:
    assert [text for _, text in axis(low, high, rows, 4, log=log).ticks] == wanted


def test_a_constant_s_tick_is_on_its_line() -> None:
    for rows in range(1, 30):
        made = axis(3.0, 3.0, rows, 4)
        line = dot_rows(made.scale.at(np.array([3.0])), rows * 4)[0] // 4
        assert [row for row, _ in made.ticks] == [line]


# Range -------------------------------------------------------------------------------------


def bins(*curves: np.ndarray, columns: int = 200) -> list[Bins]:
    x = np.arange(float(len(curves[0])))
    edges = column_edges(0.0, x[-1], columns)
    return [binned(samples(x, y), edges) for y in curves]


def shown(*curves: np.ndarray, how: Range = "together", log: bool = False) -> tuple[float, float]:
    found = limits(bins(*curves), 20.0, how, log=log)
    assert found is not None
    return found.low, found.high


def loss(count: int = 2000, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    steps = np.arange(1.0, count + 1)
    falling = 2.4 + 8 * np.exp(-steps / (count / 40)) + 1.5 * (steps / (count / 60) + 1) ** -0.6
    return falling + np.random.default_rng(seed).normal(0, noise, count)


@pytest.mark.parametrize("log", [False, True])
def test_the_start_of_a_run_does_not_set_the_range(log: bool) -> None:
    y = loss()
    low, high = shown(y, log=log)
    assert low == pytest.approx(y.min())
    assert y[200:].max() * 0.9 < high < 3.5
    assert shown(y, how="all", log=log) == pytest.approx((y.min(), y.max()))


def test_neither_does_a_spike_nor_a_divergence() -> None:
    y = loss()
    _, calm = shown(y)
    y[1200] = 60.0
    assert shown(y)[1] < calm * 1.2
    y[1700:] = np.exp(np.linspace(1, 40, 300))
    assert shown(y)[1] < calm * 1.2
    runs = [loss(seed=seed) + 0.1 * seed for seed in range(5)]
    runs[4][1000:] = np.exp(np.linspace(1, 40, 1000))
    assert shown(*runs)[1] < calm * 1.5


def test_a_rise_and_a_fall_at_the_end_are_shown() -> None:
    flat = 3 + np.random.default_rng(0).normal(0, 0.02, 2000)
    fell, rose = flat.copy(), flat.copy()
    fell[1900:] -= 2.5
    rose[1900:] += 0.3
    assert shown(fell)[0] < 0.6
    assert shown(rose)[1] > 3.25


def test_even_curves_and_short_ones_are_shown_whole() -> None:
    wave = np.sin(np.arange(2000) / 50)
    assert shown(wave) == (wave.min(), wave.max())
    few = np.array([10.0, 3, 2.5, 2.2, 2.1])
    assert shown(few) == (2.1, 10.0)
    step = np.where(np.arange(2000) < 1990, 1.0, 0.0)
    assert shown(step) == (0.0, 1.0), "most values are the same: nothing is usual"


def test_quantities_of_their_own_keep_their_ranges() -> None:
    small, large = loss() / 100, loss(seed=1)
    low, high = shown(small, small + 0.01, small + 0.02, large, how="apart")
    assert low < 0.03
    assert high > 2.6


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.floats(width=64), min_size=1, max_size=60), min_size=1, max_size=3),
    st.sampled_from(["all", "together", "apart"]),
    st.booleans(),
)
def test_any_values_have_a_range_within_them(curves: list[list[float]], how: Range, log: bool) -> None:
    made = []
    for values in curves:
        x = np.arange(float(len(values)))
        made.append(binned(samples(x, np.array(values), positive=log), column_edges(0.0, 60.0, 40)))
    found = limits(made, 4.0, how, log=log)
    usable = [value for values in curves for value in values if math.isfinite(value) and (value > 0 or not log)]
    assert (found is None) == (not usable)
    if found is not None:
        slack = 1e-9 * max(abs(min(usable)), abs(max(usable)))
        assert min(usable) - slack <= found.low <= found.high <= max(usable) + slack
