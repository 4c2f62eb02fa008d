"""The moving average against a simple loop, over gaps, and in pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp_tui.chart.smooth import Smoother, ema

WEIGHTS = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.99999)


def looped(y: np.ndarray, weight: float) -> np.ndarray:
    """The definition, sample by sample."""
    mean, count, out = 0.0, 0, []
    for value in y:
        if not math.isfinite(value):
            out.append(math.nan)
            continue
        count += 1
        mean = weight * mean + (1 - weight) * value
        out.append(mean / (1 - weight**count))
    return np.array(out)


def noisy(count: int) -> np.ndarray:
    generator = np.random.default_rng(count)
    return 3 + generator.normal(0, 1, count).cumsum() / 10


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 4095, 4096, 4097, 20_000])
def test_it_is_what_the_loop_gives(weight: float, count: int) -> None:
    y = noisy(count)
    np.testing.assert_allclose(ema(y, weight), looped(y, weight), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=300),
    st.sampled_from(WEIGHTS[:-1]),
    st.integers(0, 300),
)
def test_gaps_stay_gaps_and_pieces_add_up(values: list[float], weight: float, cut: int) -> None:
    y = np.array(values, np.float64)
    whole = ema(y, weight)
    np.testing.assert_array_equal(np.isnan(whole), ~np.isfinite(y))
    np.testing.assert_allclose(whole, looped(y, weight), rtol=1e-9, atol=1e-3)
    smoother = Smoother(weight)
    pieces = np.concatenate((smoother.extend(y[:cut]), smoother.extend(y[cut:])))
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-3)


def test_the_average_goes_on_behind_a_gap() -> None:
    with_gap = ema(np.array([1.0, 2.0, math.nan, math.inf, 3.0]), 0.9)
    np.testing.assert_allclose(with_gap[[0, 1, 4]], ema(np.array([1.0, 2.0, 3.0]), 0.9))


def test_a_constant_stays_itself_from_the_first_sample_on() -> None:
    np.testing.assert_allclose(ema(np.full(100_000, 7.25), 0.999), 7.25, rtol=1e-12)


def test_a_million_samples_agree_with_the_loop() -> None:
    y = noisy(1_000_000)
    y[123_456] = math.nan
    np.testing.assert_allclose(ema(y, 0.995), looped(y, 0.995), rtol=1e-9)


def test_other_types_and_nothing() -> None:
    assert ema(np.empty(0), 0.9).shape == (0,)
    assert ema(np.array([3], np.int32), 0.9).dtype == np.float64
    np.testing.assert_allclose(ema(np.array([1, 2], np.float32), 0.0), [1, 2])


@pytest.mark.parametrize("weight", [1.0, -0.1, 2.0, math.nan])
def test_a_weight_that_averages_nothing_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        ema(np.ones(3), weight)
