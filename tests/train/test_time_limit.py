"""When an attempt with `train.max_seconds` requests its own stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chomp.record.events import Checkpoint, Compiled, Step
from chomp.record.tail import last_save_seconds
from chomp.train.control import StopSwitch
from chomp.train.time_limit import EXIT_SECONDS, TimeLimit

pytestmark = pytest.mark.pure


def limit(seconds: float | None = 100.0, *, at: float = 0.0, earlier: float = 0.0) -> TimeLimit:
    return TimeLimit(seconds, StopSwitch(), began=1000.0, earlier_save_seconds=earlier, now=lambda: 1000.0 + at)


def test_it_leaves_room_for_the_slowest_recent_save_and_one_in_progress() -> None:
    made = limit()
    assert made.reserve_seconds() == EXIT_SECONDS
    made.handle(Compiled(seconds=1.0, cache_hit=False, memory={"argument": 400_000_000}))
    assumed = made.reserve_seconds()
    assert assumed == 2.5 * 4.0 + EXIT_SECONDS
    made.handle(Checkpoint("committed", 10, seconds=6.0))
    made.handle(Checkpoint("committed", 20, seconds=2.0))
    made.handle(Checkpoint("failed", 30))
    made.handle(Step({"step": 30, "step_time_s": 0.5}))
    assert made.reserve_seconds() == 2.5 * 6.0 + 2 * 0.5 + EXIT_SECONDS
    for step in (40, 50):
        made.handle(Checkpoint("committed", step, seconds=2.0))
    assert made.reserve_seconds() == 2.5 * 2.0 + 2 * 0.5 + EXIT_SECONDS


@pytest.mark.parametrize(("saves", "reserve"), [(4.0, 11.0), (1e6, 50.0)])
def test_what_earlier_attempts_measured_counts_and_half_of_the_time_is_for_training(
    saves: float, reserve: float
) -> None:
    assert limit(earlier=saves).reserve_seconds() == reserve
    assert limit(earlier=saves, at=30.0).remaining_seconds() == 70.0 - reserve


def test_the_stop_is_requested_in_time_and_named() -> None:
    switch = StopSwitch()
    with TimeLimit(60.0, switch, began=0.0, now=lambda: 59.5):
        assert switch.wait(10)
    assert switch.request is not None
    assert (switch.request.reason, switch.request.exit_code) == ("time limit reached (train.max_seconds: 60)", 0)


def test_without_a_limit_nothing_is_watched() -> None:
    switch = StopSwitch()
    with TimeLimit(None, switch, began=0.0, now=lambda: 1e12):
        assert not switch.wait(0.01)


def test_the_last_save_of_a_run_is_read_from_the_end_of_its_event_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert last_save_seconds(path) == 0.0
    rows = [{"kind": "checkpoint", "state": "committed", "seconds": 3.5}, {"kind": "warning", "message": '"committed"'},
            {"kind": "checkpoint", "state": "committed", "seconds": None}]  # fmt: skip
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows) + '{"committed" torn')
    assert last_save_seconds(path) == 3.5
