"""How a run starts and goes on: the checklist of phases, and what comes next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chomp.record.events import Compiled, Progress
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, status
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.run_facts import RunFacts
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.live.upcoming import none_yet, upcoming
from chomp_tui.screens.run.loss_placeholder import notice_of
from chomp_tui.screens.run.startup import checklist, in_one_line, is_starting, startup_phases
from tests.fakeruns import T0, ended, phase, row, started

DATA, COMPILE, TRAIN = phase("data", t=T0 + 4), phase("compile", t=T0 + 11), phase("train", t=T0 + 41)
BEGUN, READY = started(t=T0 + 10), Compiled(29.5, False, t=T0 + 40)
ALL = (DATA, BEGUN, COMPILE, READY, TRAIN)


def at(seconds: float, *events: Any, launched: float | None = T0, pid: int | None = 7, **settings: str) -> RunSnapshot:
    """A run that was launched at T0, so many seconds later."""
    view = fold(RunView(), events)
    update = RunUpdate(RunDir(Path("runs/one")), view, Liveness(pid=pid, since=launched))
    state = status(view, update.liveness, T0 + seconds)
    return RunSnapshot(update, T0 + seconds, state, facts=RunFacts(settings={"train": settings}), launched_at=launched)


@pytest.mark.parametrize(
    ("seconds", "events", "states", "times"),
    [
        (3, (), ["now", "next", "next", "next"], [3, None, None, None]),
        (9, ALL[:1], ["done", "now", "next", "next"], [4, 5, None, None]),
        (20, ALL[:3], ["done", "done", "now", "next"], [4, 7, 9, None]),
        (43, ALL, ["done", "done", "done", "now"], [4, 7, 30, 2]),
        (60, (*ALL, row(1, t=T0 + 42.5)), ["done"] * 4, [4, 7, 30, 1.5]),
    ],
)
def test_each_phase_has_its_time(
    seconds: float, events: tuple[Any, ...], states: list[str], times: list[float | None]
) -> None:
    snapshot = at(seconds, *events)
    phases = startup_phases(snapshot)
    assert [one.state for one in phases] == states
    assert [one.seconds for one in phases] == times
    assert is_starting(snapshot) is (states[-1] != "done")
    lines = checklist(phases, 60).plain.split("\n")
    assert [line[0] for line in lines] == [
        "✓" if state == "done" else "◐" if state == "now" else "·" for state in states
    ]
    assert all(len(line) <= 60 for line in lines)
    for width in (80, 20, 0):
        assert in_one_line(phases, width).cell_length <= width


def test_long_work_says_how_far_it_is_until_the_next_phase() -> None:
    work = Progress("converting tables", 120_000, 400_000, "rows", t=T0 + 8)
    assert startup_phases(at(9, *ALL[:1], work))[1].note == "converting tables: 120,000 of 400,000 rows"
    assert "converting" not in checklist(startup_phases(at(43, *ALL[:1], work, *ALL[1:])), 200).plain


def test_a_start_that_fails_says_where() -> None:
    refused = at(9, DATA, ended("crashed", 0, "no file matches", t=T0 + 6), pid=None, launched=None)
    notice = notice_of(refused)
    assert notice is not None
    assert (notice.title, notice.text) == ("Could not start", "no file matches")
    late = notice_of(at(60, *ALL, ended("crashed", 0, "out of memory", t=T0 + 50), pid=None, launched=None))
    assert late is not None
    assert late.title == "Crashed before the first record"
    assert [one.state for one in startup_phases(refused)][:2] == ["done", "failed"]
    assert startup_phases(refused)[0].seconds is None, "the start of a process that is gone is not recorded"


def test_a_resume_counts_its_own_phases() -> None:
    before = (*ALL, *(row(step, t=T0 + 41 + step) for step in range(1, 9)))
    again = [replace(one, t=one.t + 1000) for one in (DATA, started(8, attempt=2, t=T0 + 10), COMPILE)]
    snapshot = at(1020, *before, *again, launched=T0 + 1000)
    assert [one.seconds for one in startup_phases(snapshot)] == [4, 7, 9, None]
    assert is_starting(snapshot)
    waiting = at(1002, *before, launched=T0 + 1000)
    assert [one.state for one in startup_phases(waiting)] == ["now", "next", "next", "next"]


def test_what_comes_next() -> None:
    rows = [row(step, t=T0 + 41 + step) for step in range(1, 31)]
    live = at(80, *ALL, *rows, eval_every="40", generate_every="0", steps="1000")
    found = upcoming(live, "evaluation")
    assert found is not None
    assert (found.step, found.setting, found.when) == (40, "train.eval_every", "at step 40, in about 10s")
    assert upcoming(live, "sample") is None
    assert none_yet(live, "sample", "g generates one.") == (
        "No sample yet, and none by itself: train.generate_every is 0.\ng generates one."
    )
    assert "at step 40, in about 10s (train.eval_every)" in none_yet(live, "evaluation", "")
    assert none_yet(live, "checkpoint", "c saves one.") == "No checkpoint yet.\nc saves one."
    short = at(80, *ALL[:1], started(total_steps=35), *ALL[2:], *rows, eval_every="40")
    assert getattr(upcoming(short, "evaluation"), "step", None) == 35, "the last step is due, too"
    over = at(99, *ALL, *rows, ended("stopped", 30, "stop requested", t=T0 + 90), pid=None, eval_every="40")
    assert upcoming(over, "evaluation") is None
    assert none_yet(over, "sample", "") == "This run has no sample."
