"""A curve in one line of text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chomp_tui.chart.sparkline import sparkline


@settings(deadline=None)
@given(
    arrays.arrays(np.float64, st.integers(0, 200), elements=st.floats(width=64)),
    st.integers(0, 40),
    st.integers(0, 4),
    st.sampled_from(["braille", "block"]),
    st.booleans(),
)
def test_it_has_exactly_the_size_asked_for(values: np.ndarray, width: int, height: int, marker: str, log: bool) -> None:
    text = sparkline(values, width, marker, height=height, log=log)
    if not width or not height:
        assert text == ""
        return
    assert [len(row) for row in text.split("\n")] == [width] * height
    usable = np.isfinite(values) & ((values > 0) | (not log))
    assert (text.strip() == "") == (not usable.any())


def test_bars_rise_with_the_values() -> None:
    assert sparkline(np.arange(7), 7, "block") == "▁▂▃▄▅▆▇"
    assert sparkline(np.arange(15), 15, "block", height=2) == "        ▁▂▃▄▅▆▇\n▁▂▃▄▅▆▇████████", "rows do not touch"


def test_neither_the_start_nor_a_spike_flattens_the_rest() -> None:
    steps = np.arange(1.0, 401.0)
    values = 2.4 + 8 * np.exp(-steps / 10) + 1.5 * (steps / 7 + 1) ** -0.6
    assert len({*sparkline(values, 13, "block")}) >= 5
    values[300] = 1e19
    text = sparkline(values, 13, "block")
    assert len({*text}) >= 5
    assert text[0] == text[9] == "▇"


def test_braille_follows_the_line() -> None:
    assert sparkline([0, 1, 2, 3, 3, 2, 1, 0], 4) == "⡤⠞⠳⢤"


@pytest.mark.parametrize("marker", ["braille", "block"])
def test_a_gap_is_a_space_and_a_spike_is_seen(marker: str) -> None:
    values = np.zeros(1000)
    values[500:600] = math.nan
    values[300] = 5
    text = sparkline(values, 20, marker)
    assert [place for place, char in enumerate(text) if char == " "] == [10, 11]
    assert len({*text}) >= 3
    assert text[6] != text[7]


def test_constants_and_single_values_show() -> None:
    assert len(set(sparkline(np.full(50, 3.0), 10))) == 1
    assert sparkline([3.0], 3).strip()
    assert sparkline([], 5) == "     "
    assert sparkline([-1.0, 0.0], 5, log=True) == "     "
