"""The range of values that a chart shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.curves.bins import Bins, binned, samples
from chomp.curves.limits import Range, limits


def columns_to(last: float, columns: int) -> np.ndarray:
    return np.linspace(0.0, np.nextafter(last, np.inf), columns + 1)


def bins(*curves: np.ndarray, columns: int = 200) -> list[Bins]:
    x = np.arange(float(len(curves[0])))
    edges = columns_to(x[-1], columns)
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
        made.append(binned(samples(x, np.array(values), positive=log), columns_to(60.0, 40)))
    found = limits(made, 4.0, how, log=log)
    usable = [value for values in curves for value in values if math.isfinite(value) and (value > 0 or not log)]
    assert (found is None) == (not usable)
    if found is not None:
        slack = 1e-9 * max(abs(min(usable)), abs(max(usable)))
        assert min(usable) - slack <= found.low <= found.high <= max(usable) + slack


def evaluations(values: list[float], count: int = 2000) -> np.ndarray:
    """As many numbers as a run has rows, of which few are there."""
    every = np.full(count, np.nan)
    every[np.linspace(count // len(values), count - 1, len(values)).astype(int)] = values
    return every


def beside(train: np.ndarray, evals: np.ndarray, *, log: bool = False) -> tuple[float, float]:
    found = limits(bins(train, evals), 20.0, "together", log=log, kept=[False, True])
    assert found is not None
    return found.low, found.high


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("level", [2.6, 3.2, 4.5, 30.0])
def test_evaluations_far_above_the_training_loss_are_shown_and_the_start_is_not(level: float, log: bool) -> None:
    train = np.concatenate((np.linspace(11, 1.4, 60), 1.3 + np.random.default_rng(0).normal(0, 0.03, 1940)))
    low, high = beside(train, evaluations([level - 0.2, level - 0.1, level, level, level]), log=log)
    assert (low, high) == (pytest.approx(train.min()), pytest.approx(level))


def test_neither_a_first_evaluation_nor_one_that_is_absurd_sets_the_range() -> None:
    train = loss()
    calm = shown(train)
    assert beside(train, evaluations([3.0, 1e22]))[1] < 1.2 * calm[1]
    early = np.full(2000, np.nan)
    early[[0, 1000, 1999]] = 11.0, 2.5, 2.4
    assert beside(train, early)[1] == pytest.approx(calm[1])
    # Of a run that has one evaluation yet, it is shown.
    early[1:] = np.nan
    assert beside(train, early)[1] == pytest.approx(train.max())
