"""Spikes and stalls: what is one, and what is none."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.notify.spike import IN_A_ROW, LEAST, WINDOW, Judged, SpikeDetector, limits_of
from chomp.notify.stall import StallDetector

# The loss of each step of configs/quickstart.yaml, trained on a CPU.
QUICKSTART: list[float] = json.loads((Path(__file__).parent / "quickstart_losses.json").read_text())


def spikes(losses: Iterable[float], grad_norms: Iterable[float] = ()) -> list[int]:
    """Where spikes begin; gradient norms that are not given are 1."""
    norms = itertools.chain(grad_norms, itertools.repeat(1.0))
    return [place for place, _ in found_spikes(SpikeDetector(), zip(losses, norms, strict=False))]


def found_spikes(detector: SpikeDetector, pairs: Iterable[tuple[float, float]]) -> list[tuple[int, Judged]]:
    """Where spikes are reported, and with which step they begin."""
    found = ((place, detector.add(place, *pair, 6.0)) for place, pair in enumerate(pairs))
    return [(place, first) for place, first in found if first is not None]


def noisy(count: int, level: float = 3.0, deviation: float = 0.05, seed: int = 0) -> list[float]:
    numbers = random.Random(seed)
    return [level + numbers.gauss(0, deviation) for _ in range(count)]


@pytest.mark.parametrize("extra", [0.0, 0.1, 0.3])
def test_the_quickstart_has_no_spike_warm_up_included(extra: float) -> None:
    numbers = random.Random(0)
    assert len(QUICKSTART) == 800
    assert QUICKSTART[0] > 5.5
    assert QUICKSTART[-1] < 2
    for _ in range(5):
        assert spikes(loss + numbers.gauss(0, extra) for loss in QUICKSTART) == []


@pytest.mark.parametrize("at", [160, 500, 700])
def test_a_spike_of_the_quickstart_is_found_once(at: int) -> None:
    losses = [loss + (2 * math.exp((at - i) / 30) if i >= at else 0) for i, loss in enumerate(QUICKSTART)]
    [found] = spikes(losses)
    assert at + IN_A_ROW - 1 <= found < at + 10


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (noisy(3_000), 0),
        (noisy(300) + [9.0] * (IN_A_ROW - 1) + noisy(300), 0),
        (noisy(300) + [9.0] * 20 + noisy(300) + [9.0] * 20, 2),
        (noisy(LEAST - 5) + [9.0] * 4, 0),
        ([2.0] * 300 + [2.05] * 20, 0),
        ([2.0] * 300 + [2.2] * 20, 1),
        ([math.nan, math.inf] * 300, 0),
        ([value for loss in noisy(300) for value in (loss, math.nan)] + [9.0, math.nan, 9.0, 9.0], 1),
        ([0.0] * 300 + [1e300] * 5, 1),
        ([1e308, -1e308] * 100, 0),
    ],
    ids=["noise", "two", "again", "early", "small", "constant", "nothing", "gaps", "zero", "huge"],
)
def test_what_is_a_spike(losses: list[float], found: int) -> None:
    assert len(spikes(losses)) == found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 399), st.integers(0, 2**32))
def test_a_detector_goes_on_from_its_state_as_if_nothing_had_been(at: int, seed: int) -> None:
    numbers = random.Random(seed)
    losses = noisy(400, seed=seed)
    for start in (90, 200, 330):
        for place in range(start, start + numbers.randrange(1, 9)):
            losses[place] += 6.0
    losses[numbers.randrange(400)] = math.nan
    pairs = [(loss, 1.0 + 0.01 * numbers.random()) for loss in losses]
    whole, first = SpikeDetector(), SpikeDetector()
    expected = [whole.add(step, *pair, 6.0) for step, pair in enumerate(pairs)]
    found = [first.add(step, *pair, 6.0) for step, pair in enumerate(pairs[:at])]
    second = SpikeDetector(json.loads(json.dumps(first.state(), allow_nan=False)))
    found += [second.add(step, *pair, 6.0) for step, pair in enumerate(pairs[at:], at)]
    assert found == expected
    assert second.state() == whole.state()


def running(seconds: float, count: int = 20) -> tuple[StallDetector, float]:
    """A detector after some steps of the same time, and the clock then."""
    detector = StallDetector(20)
    for step in range(count):
        detector.completed(step * seconds, 0.0)
    return detector, (count - 1) * seconds


@settings(max_examples=60)
@given(st.lists(st.floats(-1e300, 1e300) | st.floats(2.0, 2.3), max_size=40), st.integers(0, 2**32))
def test_a_spike_is_what_lies_above_the_limits_of_the_steps_before(odd: list[float], seed: int) -> None:
    """The detector looks at the limits only where a value may lie above them."""
    values = noisy(LEAST, 2.0, seed=seed)
    for value in odd:
        values += [value] * random.Random(seed).choice([1, IN_A_ROW]) + noisy(IN_A_ROW, 2.0, seed=seed)
    above = []
    for place, value in enumerate(values):
        with np.errstate(all="ignore"):
            window = np.array(([math.nan] * WINDOW + values[:place])[-WINDOW:])
            above.append(bool(value > limits_of(window, np.ones(WINDOW), 6.0).loss))
    begins, in_spike = [], False
    for place in range(IN_A_ROW - 1, len(values)):
        if all(one is not in_spike for one in above[place + 1 - IN_A_ROW : place + 1]):
            in_spike = not in_spike
            begins += [place] * in_spike
    assert spikes(values) == begins


@pytest.mark.parametrize(("seconds", "patience"), [(0.01, 60), (1.0, 60), (10.0, 200)])
def test_a_stall_is_told_once_after_many_times_the_usual_step(seconds: float, patience: float) -> None:
    detector, now = running(seconds)
    assert detector.check(now + patience, is_outside=False) is None
    told = detector.check(now + patience + 1, is_outside=False)
    assert told is not None
    assert f"a step usually takes {seconds:g} s" in told
    assert detector.check(now + 10 * patience, is_outside=False) is None
    detector.completed(now + 10 * patience, 0.0)
    assert detector.check(now + 20 * patience, is_outside=False) is not None


def test_an_evaluation_is_no_stall_and_its_seconds_are_no_step() -> None:
    detector, now = running(1.0)
    for waited in (100, 200, 300):
        assert detector.check(now + waited, is_outside=True) is None
    assert detector.check(now + 355, is_outside=False) is None
    detector.completed(now + 356, 355.0)
    assert (
        detector.check(now + 356 + 61, is_outside=False) == "no step has completed for 1m01s; a step usually takes 1 s"
    )


def test_the_usual_step_must_be_known_first() -> None:
    detector, _ = running(1.0, count=3)
    assert detector.check(1e6, is_outside=False) is None
    assert StallDetector(20).check(1e6, is_outside=False) is None
