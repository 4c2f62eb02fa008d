"""The moving average over x against a simple loop, over gaps, in pieces, and for any cadence of logging."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.curves.smooth import Smoother, smoothed

SPANS = (0.0, 1.0, 30.0, 1000.0)


def looped(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """The definition, sample by sample."""
    total = weight = 0.0
    last, out = None, []
    for place, value in zip(x, y, strict=True):
        kept = 1.0 if last is None else (math.exp(-(place - last) / span) if span else 0.0)
        last, total, weight = place, total * kept, weight * kept
        if math.isfinite(value):
            total, weight = total + value, weight + 1
        out.append(total / weight if math.isfinite(value) else math.nan)
    return np.array(out)


def noisy(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    return generator.integers(1, 20, count).cumsum().astype(float), 3 + generator.normal(0, 1, count).cumsum() / 10


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("count", [1, 2, 8191, 8192, 8193, 20_000])
def test_it_is_what_the_loop_gives(span: float, count: int) -> None:
    x, y = noisy(count)
    np.testing.assert_allclose(smoothed(x, y, span), looped(x, y, span), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=300),
    st.sampled_from(SPANS),
    st.integers(0, 300),
)
def test_gaps_stay_gaps_and_pieces_add_up(values: list[float], span: float, cut: int) -> None:
    x, y = np.arange(len(values)) * 10.0, np.array(values, np.float64)
    whole = smoothed(x, y, span)
    np.testing.assert_array_equal(np.isnan(whole), ~np.isfinite(y))
    np.testing.assert_allclose(whole, looped(x, y, span), rtol=1e-9, atol=1e-3)
    smoother = Smoother(span)
    pieces = np.concatenate((smoother.extend(x[:cut], y[:cut]), smoother.extend(x[cut:], y[cut:])))
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-3)


def test_how_often_a_run_logs_does_not_change_how_far_the_average_lags() -> None:
    steps = np.arange(0.0, 10_000.0)
    falling = 10 - steps / 1000
    lag = {every: smoothed(steps[::every], falling[::every], 100)[-1] - falling[::every][-1] for every in (1, 10, 25)}
    np.testing.assert_allclose(list(lag.values()), 0.1, rtol=0.15)


def test_it_forgets_what_diverged() -> None:
    y = np.array([2.0, 1e38, *[2.0] * 5000])
    np.testing.assert_allclose(smoothed(np.arange(len(y)), y, 10)[-1], 2.0)


@pytest.mark.parametrize("span", [-1.0, math.nan, math.inf])
def test_a_span_that_averages_nothing_is_refused(span: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and finite"):
        smoothed(np.ones(3), np.ones(3), span)
