"""Signals of clusters and shells, and a run directory that is renamed and removed, all met by one live engine."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import psutil
import pytest

from chomp.record.commands import Command, send_command
from chomp.record.event_log import read_events
from chomp.record.events import Acknowledged, Checkpoint, Event, RunEnded, Warned
from chomp.record.manifest import list_checkpoints, verify
from chomp.record.rundir import RunDir
from chomp.record.status import read_liveness
from tests.engine import Engine, dummy_config, rows, wait_until, write_config, write_corpus

pytestmark = pytest.mark.process

BY_HAND = {"save_every": 0, "save_every_seconds": 0, "max_to_keep": 10}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An endless run that saves only where it is told to."""
    values = dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 10_000_000}, checkpoint=BY_HAND)
    return write_config(tmp_path / "config.yaml", values)


def is_saved(event: Event) -> bool:
    return isinstance(event, Checkpoint) and event.state == "committed"


def test_one_run_in_a_cluster(config: Path, tmp_path: Path) -> None:
    run_dir, renamed = tmp_path / "run", tmp_path / "renamed"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    wait_until(lambda: (run_dir / "metrics.jsonl").exists() or engine.process.poll() is not None)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        engine.signal(number)
        assert engine.wait_for(is_saved) is not None, engine.text()
        assert f"{number.name}: saving; the run continues" in engine.text()
    process = psutil.Process(engine.process.pid)
    engine.signal(signal.SIGTSTP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    assert read_liveness(RunDir(run_dir)).is_suspended
    engine.signal(signal.SIGCONT)
    count = len(rows(run_dir))
    wait_until(lambda: len(rows(run_dir)) > count)
    answers = [event for event in read_events(run_dir / "events.jsonl") if isinstance(event, Acknowledged)]
    assert [(event.id, event.command, event.ok) for event in answers] == [
        (name, "save", True) for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU")
    ]

    run_dir.rename(renamed)
    steps = [info.step for info in list_checkpoints(renamed / "checkpoints")]
    send_command(renamed / "commands.jsonl", Command("save"))
    wait_until(lambda: list_checkpoints(renamed / "checkpoints")[-1].step > steps[-1])
    assert verify(list_checkpoints(renamed / "checkpoints")[-1].path) == []
    assert read_liveness(RunDir(renamed)).pid == engine.process.pid
    assert read_liveness(RunDir(run_dir)).is_missing
    events = read_events(renamed / "events.jsonl")
    assert [event.message for event in events if isinstance(event, Warned)] == [
        f"{run_dir} was renamed; the run continues in {renamed}"
    ]
    assert not run_dir.exists(), "the directory was made anew"

    with (renamed / "events.jsonl").open() as hidden:
        shutil.rmtree(renamed)
        assert engine.finish() == 5, engine.text()
        assert '"kind":"run_ended"' in hidden.read()
    assert not run_dir.exists()
    assert not renamed.exists()
    assert "Traceback" not in engine.text()
    assert f"the run directory {renamed} was removed, unmounted or replaced by another" in engine.text()


def test_a_notice_may_stop_the_run(config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir, "-o", "checkpoint.on_signal=stop")
    wait_until(lambda: (run_dir / "metrics.jsonl").exists() or engine.process.poll() is not None)
    engine.signal(signal.SIGUSR2)
    assert engine.finish() == 128 + signal.SIGUSR2, engine.text()
    ended = [event for event in read_events(run_dir / "events.jsonl") if isinstance(event, RunEnded)][-1]
    assert (ended.status, ended.reason) == ("stopped", f"SIGUSR2 received; step {ended.step} is saved")
    assert list_checkpoints(run_dir / "checkpoints")[-1].step == ended.step
