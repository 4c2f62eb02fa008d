"""Where values stand, which get a tick, and what is written there."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.curves import scale
from chomp.curves.scale import Scale

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_linear_and_logarithmic_heights() -> None:
    np.testing.assert_allclose(Scale(2, 6).at(np.array([2, 3, 6, 8])), [0, 0.25, 1, 1.5])
    np.testing.assert_allclose(Scale(1, 100, log=True).at(np.array([1, 10, 100])), [0, 0.5, 1])
    assert np.isnan(Scale(1, 2).at(np.array([math.nan]))).all()


def test_equal_ends_stand_in_the_middle() -> None:
    heights = Scale(3, 3).at(np.array([3.0, 4.0, 2.0, math.nan]))
    assert heights[0] == 0.5
    assert heights[1] > 1
    assert heights[2] < 0
    assert math.isnan(heights[3])


def test_the_widest_range_there_is() -> None:
    largest = float(np.finfo(np.float64).max)
    np.testing.assert_allclose(Scale(-largest, largest).at(np.array([-largest, 0.0, largest])), [0, 0.5, 1])
    np.testing.assert_allclose(Scale(5e-324, largest, log=True).at(np.array([5e-324, largest])), [0, 1])


@pytest.mark.parametrize(
    ("low", "high", "most", "wanted"),
    [
        (0, 10, 6, [0, 2, 4, 6, 8, 10]),
        (0, 10, 3, [0, 5, 10]),
        (2.31, 3.05, 5, [2.4, 2.6, 2.8, 3.0]),
        (-1, 1, 5, [-1, -0.5, 0, 0.5, 1]),
        (0, 3e-4, 4, [0, 1e-4, 2e-4, 3e-4]),
        (0, 48_000, 6, [0, 10_000, 20_000, 30_000, 40_000]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, wanted: list[float]) -> None:
    assert scale.nice_ticks(low, high, most).tolist() == wanted


def test_steps_get_no_fractions() -> None:
    assert scale.nice_ticks(0, 3, 8, whole=True).tolist() == [0, 1, 2, 3]


@settings(deadline=None)
@given(FINITE, FINITE, st.integers(1, 20))
def test_ticks_lie_inside_ascend_and_fit(one: float, other: float, most: int) -> None:
    low, high = sorted((one, other))
    ticks = scale.nice_ticks(low, high, most)
    assert len(ticks) <= most
    assert all(low <= tick <= high for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))


@pytest.mark.parametrize(
    ("ticks", "wanted"),
    [
        ([3.2, 3.4, 3.6], ["3.2", "3.4", "3.6"]),
        ([0, 0.5, 1.0], ["0", "0.5", "1.0"]),
        ([1e-4, 2e-4], ["1e-4", "2e-4"]),
        ([0, 2.5e-4, 5e-4], ["0", "2.5e-4", "5.0e-4"]),
        ([0, 500_000, 1_000_000, 1_200_000], ["0", "0.5M", "1.0M", "1.2M"]),
        ([0, 20_000], ["0", "20k"]),
        ([2000, 4000], ["2000", "4000"]),
        ([1e9, 2e9], ["1B", "2B"]),
        ([-50_000, 0], ["-50k", "0"]),
        ([1e-300, 1e300], ["1e-300", "1e300"]),
        ([5.0], ["5"]),
        ([], []),
    ],
)
def test_labels_are_short_and_mean_what_they_say(ticks: list[float], wanted: list[str]) -> None:
    assert scale.labels(ticks) == wanted


@settings(deadline=None)
@given(FINITE, FINITE, st.integers(2, 20))
def test_labels_of_one_axis_differ(one: float, other: float, most: int) -> None:
    ticks = scale.nice_ticks(*sorted((one, other)), most)
    assert len(set(scale.labels(ticks))) == len(ticks)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3.21434, "3.2143"),
        (32.1434, "32.143"),
        (0.5, "0.5000"),
        (3e-4, "3.000e-4"),
        (12_345.6, "12,346"),
        (1_234_567.0, "1.235M"),
        (0.0, "0"),
        (-3.5, "-3.5000"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_values_read_off_the_chart(value: float, wanted: str) -> None:
    assert scale.number(value) == wanted


def test_steps_are_written_in_full() -> None:
    assert scale.whole_number(1_234_567.0) == "1,234,567"
    assert scale.whole_number(0.5) == "0.5000"


def test_times_get_round_clock_ticks() -> None:
    ticks = scale.x_ticks(0, 3 * 3600 + 400, 60, time=True, whole=False, text=None)
    assert [text for _, text in ticks] == ["0s", "30m00s", "1h00m", "1h30m", "2h00m", "2h30m", "3h00m"]


@settings(deadline=None)
@given(FINITE, FINITE, st.integers(0, 200), st.booleans(), st.booleans())
def test_horizontal_ticks_never_raise_and_fit(one: float, other: float, columns: int, time: bool, whole: bool) -> None:
    low, high = sorted((one, other))
    ticks = scale.x_ticks(low, high, columns, time=time, whole=whole, text=None)
    assert sum(len(text) + 2 for _, text in ticks) <= columns + 2
