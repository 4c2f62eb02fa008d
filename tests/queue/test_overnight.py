"""A night in seconds: real engines, a crash, a killed runner, an urgent job and a time limit; nothing is run twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chomp.queue.adding import NewJob, add_job
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Job
from chomp.queue.launch import engine_command
from chomp.queue.process import runner_of, start_runner, stop_runner
from chomp.record.commands import Command, send_command
from chomp.record.events import Acknowledged, Checkpoint, Event, Phase, RunStarted
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir
from tests.engine import assert_same_run, dummy_config, events_of, rows, wait_until, write_config, write_corpus

pytestmark = pytest.mark.process
SECONDS = 240


class Night:
    """A queue with its runner, and what the test does to it."""

    def __init__(self, path: Path):
        self.path = path
        self.queue = QueueFolder(path / "queue")
        self.config = write_config(path / "tiny.yaml", dummy_config(write_corpus(path / "corpus")))

    def add(self, name: str, *overrides: str, **options: Any) -> int:
        new = NewJob(
            config=self.config, name=name, runs=self.path / "runs", overrides=overrides, folder=self.path, **options
        )
        return add_job(self.queue, new).id

    def job(self, number: int) -> Job:
        found = self.queue.read().find(number)
        assert found is not None
        return found

    def run(self, name: str) -> RunDir:
        return RunDir(self.path / "runs" / name)

    def pid(self, name: str) -> int | None:
        holder = live_holder(self.run(name).lock)
        return holder.pid if holder else None

    def until(self, happened: Callable[[], object]) -> None:
        wait_until(happened, SECONDS)

    def until_event(self, name: str, kind: type[Event], wanted: Callable[[Any], bool] = lambda event: True) -> None:
        self.until(lambda: any(map(wanted, events_of(self.path / "runs" / name, kind))))

    def command(self, name: str, word: str) -> None:
        """Send a command and wait for the answer."""
        sent = Command(word)
        send_command(self.run(name).commands, sent)
        self.until_event(name, Acknowledged, lambda event: event.id == sent.id)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path)
    yield made
    if runner_of(made.queue):
        stop_runner(made.queue, print, with_engines=False)
    for job in made.queue.read().jobs:
        if job.run_dir and (pid := made.pid(Path(job.run_dir).name)):
            os.kill(pid, signal.SIGKILL)


def test_a_night_of_six_jobs(night: Night) -> None:
    long = ("train.steps=1500", "checkpoint.save_every=0")
    killed = night.add("killed")
    broken = night.add("broken", "data.files=[no-such-folder/*.txt]")
    lent, alone = night.add("lent", *long), night.add("alone", *long)
    limited = night.add("limited", "train.steps=100_000_000", "train.log_every=1000", for_seconds=9.0)
    assert start_runner(night.queue, 0.05) == start_runner(night.queue)

    # The crash: an engine that is killed with a checkpoint behind it and steps before it.
    night.until_event("killed", Phase)
    night.command("killed", "pause")
    night.command("killed", "save")
    night.until_event("killed", Checkpoint, lambda event: event.state == "committed")
    os.kill(night.pid("killed") or 0, signal.SIGKILL)
    night.until(lambda: night.job(killed).is_ended)

    # The runner is killed while an engine trains; of two that are started at once, one adopts it.
    night.until(lambda: (night.run("lent").path / "metrics.jsonl").exists() and len(rows(night.run("lent").path)) >= 5)
    night.command("lent", "pause")
    engine, runner = night.pid("lent"), runner_of(night.queue)
    assert engine
    assert runner
    os.kill(runner.pid, signal.SIGKILL)
    night.until(lambda: runner_of(night.queue) is None)
    both = [engine_command("queue", "run", "--queue", str(night.queue.path), "--poll-seconds", "0.05")] * 2
    processes = [subprocess.Popen(one, cwd=night.path, stderr=subprocess.PIPE) for one in both]
    night.until(lambda: any(process.poll() is not None for process in processes))
    refused = next(process for process in processes if process.poll() is not None)
    assert b"has a runner already (pid " in (refused.communicate()[1])
    assert night.job(lent).state == "running"
    assert night.pid("lent") == engine

    # The urgent job: the engine that is paused saves, gives way, and continues afterwards.
    urgent = night.add("urgent", urgent=True)
    night.until(lambda: night.job(urgent).is_ended)
    night.until(lambda: all(job.is_ended for job in night.queue.read().jobs))

    states = {job.id: job.state for job in night.queue.read().jobs}
    assert states == {killed: "done", broken: "failed", lent: "done", alone: "done", limited: "done", urgent: "done"}
    assert "no-such-folder" in night.job(broken).reason
    assert night.job(limited).reason.startswith("time limit reached (train.max_seconds: 9)")
    begun = {name: len(events_of(night.run(name).path, RunStarted)) for name in ("killed", "lent", "alone", "urgent")}
    assert begun == {"killed": 2, "lent": 2, "alone": 1, "urgent": 1}
    assert {job.id: len(job.attempts) for job in night.queue.read().jobs} == {
        **{killed: 2, broken: 1, lent: 2, alone: 1, limited: 1, urgent: 1}
    }
    assert [one.how for one in night.job(killed).attempts] == ["killed by signal 9", "all 20 steps done"]
    assert night.job(lent).attempts[0].how.endswith("is saved")
    assert_same_run(night.run("lent").path, night.run("alone").path, 1500)
    assert night.queue.engines() == {}
    assert stop_runner(night.queue, print, with_engines=True)
    winner = next(process for process in processes if process is not refused)
    assert winner.wait(30) == 0
    assert "no job waits or runs any more" in night.queue.runner_log.read_text()
