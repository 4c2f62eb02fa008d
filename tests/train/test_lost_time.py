"""The time that an attempt worked beyond a checkpoint, from its events and its newest row."""

from __future__ import annotations

from chomp.record.events import Event, Phase, RunEnded
from chomp.train.clock import seconds_beyond
from tests.fakeruns import ended, started


def arrived(t: float, last_row_t: float | None) -> Phase:
    return Phase(name="data", step=0, last_row_t=last_row_t, t=t)


def begun(t: float) -> list[Event]:
    return [started(t=t), Phase(name="train", step=0, t=t + 1)]


def test_a_killed_attempt_lasts_until_its_newest_row() -> None:
    events = [arrived(0.0, None), *begun(10.0), arrived(500.0, 100.0)]
    assert seconds_beyond(events, since=40.0) == 60.0
    assert seconds_beyond([arrived(0.0, None), *begun(10.0), arrived(500.0, None)], since=5.0) == 1.0


def test_each_killed_attempt_counts_though_its_rows_are_gone() -> None:
    events = [*begun(10.0), arrived(500.0, 100.0), *begun(510.0), arrived(900.0, 530.0)]
    assert seconds_beyond(events, since=40.0) == 60.0 + 20.0


def test_an_attempt_that_ended_lasts_until_its_end() -> None:
    events = [*begun(10.0), ended("stopped", 5, t=50.0), arrived(500.0, 49.0)]
    assert isinstance(events[-2], RunEnded)
    assert seconds_beyond(events, since=0.0) == 40.0


def test_a_refused_attempt_does_not_count_and_a_damaged_time_is_passed_over() -> None:
    events = [*begun(10.0), arrived(500.0, 100.0), ended("crashed", 0, t=501.0), arrived(600.0, 100.0)]
    assert seconds_beyond(events, since=0.0) == 90.0
    assert seconds_beyond([*begun(10.0), arrived(500.0, "soon")], since=0.0) == 1.0  # type: ignore[arg-type]
