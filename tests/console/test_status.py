"""A run's state in words, from what it said and whether its engine lives."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest
from rich.cells import cell_len

from chomp.record.events import Event
from chomp.record.fold import fold
from chomp.record.lock import RunLock
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import COPIED, GONE, MISSING, Liveness, patience_seconds, read_liveness, status
from tests.fakeruns import T0, ended, phase, row, started

HERE = Liveness(pid=4711, since=T0 - 5)
NO_ENGINE = Liveness()


def view(*events: Event) -> RunView:
    return fold(RunView(), events)


def word(run: RunView, liveness: Liveness, now: float = T0 + 30) -> str:
    return status(run, liveness, now).word


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data", "reading data"),
        ("compile", "compiling"),
        ("train", "training"),
        ("eval", "evaluating"),
        ("sample", "sampling"),
        ("save", "saving"),
        ("paused", "paused"),
        ("dreaming", "dreaming"),
    ],
)
def test_a_live_engine_does_what_it_says(name: str, expected: str) -> None:
    state = status(view(started(), phase(name)), HERE, T0 + 10)
    assert (state.word, state.is_live) == (expected, True)


@pytest.mark.parametrize(
    ("said", "expected", "tone"),
    [
        ("completed", "completed", "good"),
        ("stopped", "stopped", "idle"),
        ("data_exhausted", "out of text", "good"),
        ("crashed", "crashed", "bad"),
        ("evaporated", "evaporated", "idle"),
    ],
)
def test_an_ended_run_says_how_and_why(said: str, expected: str, tone: str) -> None:
    state = status(view(started(), ended(said, reason="because")), NO_ENGINE, T0 + 10)
    assert (state.word, state.tone, state.reason, state.is_live) == (expected, tone, "because", False)


def test_an_engine_that_vanished_crashed() -> None:
    for run in (view(started(), phase("train"), row(1)), view(phase("data")), view(started(), phase("paused"))):
        state = status(run, NO_ENGINE, T0 + 10)
        assert (state.word, state.reason, state.is_live) == ("crashed", GONE, False)


def test_a_refused_resume_leaves_the_state() -> None:
    run = view(started(), ended("stopped", 5, reason="stop requested"), phase("data", t=T0 + 5))
    assert word(run, HERE) == "reading data"
    refused = fold(run, [ended("crashed", 0, t=T0 + 6, reason="model.dim differs")])
    found = status(refused, NO_ENGINE, T0 + 9)
    assert (found.word, found.tone, found.state) == ("stopped", "bad", "stopped")
    assert found.reason == "it was not resumed: model.dim differs"
    killed = view(started(), row(1), phase("data", t=T0 + 5), ended("crashed", 0, t=T0 + 6, reason="no GPU"))
    found = status(killed, NO_ENGINE, T0 + 9)
    assert (found.word, found.reason) == ("crashed", "it was not resumed: no GPU")
    assert status(fold(killed, [phase("data", t=T0 + 7)]), HERE, T0 + 9).reason == ""


def test_an_engine_that_has_not_spoken_yet_is_starting() -> None:
    assert word(RunView(), HERE) == "starting"
    done = view(started(), ended())
    assert word(done, Liveness(pid=1, since=T0 + 20)) == "starting"
    killed = view(started(), phase("train"), row(1))
    assert word(killed, Liveness(pid=1, since=T0 + 20)) == "starting"
    # The engine that said its last word holds the lock for a moment longer.
    assert word(done, HERE) == "completed"


def test_a_run_that_another_machine_may_hold_is_not_called_crashed() -> None:
    there = Liveness(elsewhere="attic", since=T0 - 5)
    state = status(view(started(), phase("train")), there, T0 + 10)
    assert state.word == "elsewhere"
    assert "attic" in state.reason
    assert word(view(started(), ended()), there) == "completed"
    assert word(view(started(), ended()), Liveness(elsewhere="attic", since=T0 + 9)) == "elsewhere"


def test_a_directory_that_was_renamed_is_missing_and_not_crashed(tmp_path: Path) -> None:
    missing = read_liveness(RunDir(tmp_path / "renamed"))
    assert missing == Liveness(is_missing=True)
    for run in (RunView(), view(started(), phase("train"), row(1))):
        state = status(run, missing, T0 + 10)
        assert (state.word, state.reason, state.state, state.is_live) == ("missing", MISSING, "unreadable", False)


def test_an_engine_that_is_stopped_is_suspended_and_not_silent() -> None:
    run = view(started(), phase("train"), row(1))
    state = status(run, Liveness(pid=4711, since=T0 - 5, is_suspended=True), T0 + 10**6)
    assert (state.word, state.reason, state.is_live) == ("suspended", "`kill -CONT 4711` continues it", True)


def test_an_empty_directory_is_not_started() -> None:
    assert word(RunView(), NO_ENGINE) == "not started"


def test_silence_is_judged_by_the_runs_own_pace() -> None:
    quick = view(started(), phase("train"), *(row(step, t=T0 + step) for step in range(1, 20)))
    assert patience_seconds(quick) == 30
    assert word(quick, HERE, T0 + 19 + 29) == "training"
    state = status(quick, HERE, T0 + 19 + 31)
    assert (state.word, state.is_live) == ("silent", True)
    slow = view(started(), phase("train"), *(row(step, t=T0 + 60 * step) for step in range(1, 20)))
    assert word(slow, HERE, T0 + 60 * 19 + 590) == "training"
    assert word(slow, HERE, T0 + 60 * 19 + 610) == "silent"


def test_silence_is_borne_longer_where_engines_say_nothing() -> None:
    assert word(view(started(), phase("compile")), HERE, T0 + 1800) == "compiling"
    assert word(view(started(), phase("compile")), HERE, T0 + 4000) == "silent"
    assert word(view(started(), phase("train")), HERE, T0 + 500) == "training"
    assert word(view(started(), phase("paused")), HERE, T0 + 10**6) == "paused"


@pytest.mark.parametrize(("job", "said"), [("eval", "evaluating"), ("sample", "sampling"), ("save", "saving")])
def test_what_a_paused_run_does_is_said_with_its_pause(job: str, said: str) -> None:
    assert word(view(started(), phase("train"), phase(job)), HERE) == said
    assert word(view(started(), phase("paused"), phase(job)), HERE) == f"{said} (paused)"


def test_glyphs_are_one_cell_wide_and_states_differ_in_words() -> None:
    states = [status(view(started(), phase(name)), HERE, T0) for name in ("data", "train", "eval", "paused")]
    states += [status(view(started(), ended(name)), NO_ENGINE, T0) for name in ("completed", "stopped", "crashed")]
    states += [status(RunView(), NO_ENGINE, T0), status(view(started()), Liveness(elsewhere="x"), T0)]
    assert all(cell_len(state.glyph) == 1 for state in states)
    assert len({state.word for state in states}) == len(states)


def test_liveness_is_that_of_the_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_liveness(run) == NO_ENGINE
    lock = RunLock(run.lock)
    lock.acquire()
    assert read_liveness(run).pid == os.getpid()
    assert read_liveness(run).since == pytest.approx(psutil.Process().create_time())
    lock.release()
    assert read_liveness(run) == NO_ENGINE
    lock.acquire()
    (tmp_path / "copy").mkdir()
    shutil.copy2(run.lock, tmp_path / "copy")
    copied = read_liveness(RunDir(tmp_path / "copy"))
    assert copied == Liveness(is_copy=True)
    state = status(view(started(), phase("train")), copied, T0)
    assert (state.word, state.reason, state.is_live) == ("stopped", COPIED, False)
    assert word(view(started(), ended("completed")), copied) == "completed"
    named = json.loads((tmp_path / "copy" / "lock").read_text())
    (tmp_path / "copy" / "lock").write_text(json.dumps({**named, "started": 5.0}))
    assert read_liveness(RunDir(tmp_path / "copy")) == NO_ENGINE, "an engine that is gone, be it of a copy"
    lock.release()
    run.lock.write_text(json.dumps({"pid": os.getpid(), "host": "attic", "started": 5.0}))
    assert read_liveness(run) == Liveness(elsewhere="attic", since=5.0)
    run.lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": 5.0}))
    assert read_liveness(run) == NO_ENGINE
    run.lock.write_bytes(b"\x00\xff{")
    assert read_liveness(run) == NO_ENGINE
