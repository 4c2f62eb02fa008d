"""Ranges, ticks and thinning of a report's charts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chomp.report.axes import Range, label, mean_of_last, thinned, ticks, value_range, whole_range

FINITE = st.floats(-1e12, 1e12)


@given(FINITE, st.floats(1e-9, 1e12), st.integers(2, 12))
def test_ticks_are_few_round_and_inside(low: float, span: float, most: int) -> None:
    shown = Range(low, low + span)
    if not shown.high > shown.low:
        return
    found = ticks(shown, most)
    assert len(found) <= most
    room = 1e-6 * span + 1e-9 * max(abs(low), abs(shown.high))
    assert all(low - room <= one <= shown.high + room for one in found)
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "count", "0"), (200, "count", "200"), (40_000, "count", "40k"), (1_200_000, "count", "1.2M"),
        (2e9, "count", "2B"), (90, "seconds", "1m30s"), (2.5, "", "2.5"), (0.0003, "", "0.0003"), (3e15, "", "3e+15"),
    ],
)  # fmt: skip
def test_labels_are_short(value: float, unit: str, text: str) -> None:
    assert label(value, unit) == text


def test_the_begin_of_a_loss_does_not_set_the_range_and_what_is_outside_is_counted() -> None:
    x = np.arange(1, 1001.0)
    y = 2 + 8 * np.exp(-x / 10)
    y[700] = 50.0
    shown = value_range([(x, y)])
    assert shown is not None
    assert 2 > shown.low > 1.9
    assert shown.high < 2.1
    assert shown.outside(y) == np.count_nonzero(y > shown.high) > 1
    whole = whole_range([y])
    assert whole == Range(y.min(), 50.0)


def test_ranges_of_nothing_and_of_one_value() -> None:
    nothing = np.array([np.nan, np.inf])
    assert whole_range([]) is whole_range([nothing]) is value_range([(nothing, nothing)]) is None
    one = value_range([(np.array([1.0]), np.array([3.0]))])
    assert one is not None
    assert one.low < 3 < one.high
    zero = value_range([(np.array([1.0, 2.0]), np.array([5.0, 6.0]))], from_zero=True)
    assert zero is not None
    assert zero.low == 0


def test_thinning_keeps_every_spike_and_every_gap() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 5_000)
    y[43_210], y[60_000:70_000], y[99_999] = 9.0, np.nan, np.inf
    less_x, less_y = thinned(x, y, 500)
    assert len(less_x) == len(less_y) <= 1_000
    assert np.nanmax(less_y) == 9.0
    assert np.isnan(less_y).sum() > 90
    assert np.isnan(less_y[np.abs(less_x - 65_000) < 3_000]).all()
    few = thinned(x[:5], y[:5], 500)
    assert list(few[1]) == list(y[:5])


def test_the_mean_is_of_finite_values_only() -> None:
    found = mean_of_last(np.array([1.0, 3.0, np.nan, 5.0, np.inf, 7.0], np.float32), 3)
    assert found[[0, 1, 3, 5]].tolist() == [1.0, 2.0, 4.0, 6.0]
    assert math.isnan(found[2])
    assert math.isnan(found[4])
