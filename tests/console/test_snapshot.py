"""Which time a snapshot of a run counts."""

from __future__ import annotations

from pathlib import Path

from chomp.record.events import Event
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, Status
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.snapshot import RunSnapshot
from tests.fakeruns import T0, ended, phase, row, started

BEGUN = fold(RunView(), [phase("data"), started(), phase("train")])
TRAINED = fold(BEGUN, [row(step) for step in range(1, 11)])


def seconds(view: RunView, after: float, *events: Event, is_live: bool = True) -> tuple[float, float | None]:
    """All that the time budget counts so many seconds after the begin, and what the header calls elapsed."""
    update = RunUpdate(RunDir(Path("runs/one")), fold(view, events), Liveness())
    snapshot = RunSnapshot(update, T0 + after, Status("training", "●", "live", is_live=is_live))
    return sum(snapshot.view.spent_until(snapshot.counted_until).values()), snapshot.elapsed_seconds


def test_training_counts_up_to_its_newest_record() -> None:
    assert seconds(TRAINED, 10) == (10, 10)
    assert seconds(TRAINED, 500) == (10, 10)
    assert seconds(TRAINED, 500, is_live=False) == (10, 10)


def test_what_has_no_records_counts_up_to_now() -> None:
    assert seconds(BEGUN, 15) == (15, 15)
    assert seconds(TRAINED, 25, phase("save", 10, t=T0 + 12)) == (25, 25)


def test_a_pause_counts_in_whole_minutes() -> None:
    paused = phase("paused", 10, t=T0 + 10)
    assert [seconds(TRAINED, 10 + more, paused)[0] for more in (0, 59, 60, 119, 120)] == [10, 10, 70, 70, 130]


def test_attempts_add_up() -> None:
    stopped = fold(TRAINED, [ended("stopped", 10, t=T0 + 12, time_budget_seconds={"train": 10.0, "save": 2.0})])
    assert seconds(stopped, 10**6, is_live=False) == (12, 12)
    assert seconds(stopped, 5004, phase("data", t=T0 + 5000), started(10, attempt=2, t=T0 + 5003)) == (16, 1)
