"""The vertical axis: ticks in the middles of rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chomp.curves.scale import Scale
from chomp_tui.chart.axis import axis
from chomp_tui.chart.raster import dot_rows

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
@example(50000847.0, 0.00390625, 48, 4)
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
