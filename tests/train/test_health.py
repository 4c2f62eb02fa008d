"""Warnings of a loss spike, a stall, and a disk without room."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chomp.config.notify import NotifyConfig
from chomp.config.optim import OptimConfig
from chomp.config.run import DebugConfig
from chomp.data.pipeline import BatchOrigin
from chomp.parallel.world import World
from chomp.record.events import Event, Spike, Warned
from chomp.train.clock import TimeBudget
from chomp.train.hooks import health
from chomp.train.hooks.health import HealthHook
from chomp.train.progress import TrainProgress
from tests.fakeruns import make_checkpoint, make_run

pytestmark = pytest.mark.pure


class Clock:
    """A clock in seconds, moved by the test."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def parts(run: Any = None) -> tuple[Any, list[Event], Clock]:
    """What a hook uses of a session, what it publishes, and its clock."""
    published: list[Event] = []
    clock = Clock()
    session = SimpleNamespace(
        config=SimpleNamespace(notify=NotifyConfig(), debug=DebugConfig(), optim=OptimConfig(warmup_steps=0)),
        budget=TimeBudget(now=clock),
        reporter=SimpleNamespace(publish=published.append),
        request=SimpleNamespace(dry_run=False),
        world=World(),
        saves=True,
        run=run,
    )
    return session, published, clock


def complete(
    hook: HealthHook, clock: Clock, losses: list[float], progress: TrainProgress | None = None, begin: int = 1
) -> TrainProgress:
    """Complete steps of a trainer with this progress, which is returned."""
    progress = progress or TrainProgress()
    trainer: Any = SimpleNamespace(progress=progress)
    for step, loss in enumerate(losses, begin):
        clock.seconds += 1
        completed: Any = SimpleNamespace(step=step, data_state=step)
        metrics: Any = SimpleNamespace(loss=np.float32(loss), grad_norm=np.float32(1.0))
        hook.on_completed(trainer, completed, metrics)
    return progress


@pytest.mark.parametrize(
    ("policy", "warmup", "told"),
    [("warn", 0, [(101, "warn")]), ("warn", 200, []), ("skip", 0, []), ("rollback", 0, [])],
)
def test_a_spike_is_told_with_its_step_after_the_warm_up_unless_the_step_judges(
    policy: str, warmup: int, told: list[tuple[int, str]]
) -> None:
    session, published, clock = parts()
    session.data = SimpleNamespace(
        documents_between=lambda before, after: BatchOrigin("text", before, after - before, [])
    )
    session.config.debug, session.config.optim = DebugConfig(spikes=policy), OptimConfig(warmup_steps=warmup)  # type: ignore[arg-type]
    complete(HealthHook(session), clock, [3.0] * 100 + [9.0] * 10)
    assert [(event.step, event.action) for event in published if isinstance(event, Spike)] == told
    assert [(event.first_read, event.document_count) for event in published] == [(100, 1)] * len(told)
    assert len(published) == len(told)


def test_after_a_rollback_the_losses_before_its_checkpoint_count() -> None:
    session, published, clock = parts()
    hook = HealthHook(session)
    session.data = SimpleNamespace(
        documents_between=lambda before, after: BatchOrigin("text", before, after - before, [])
    )
    progress = complete(hook, clock, [3.0] * 50)
    meta = {"spikes": progress.spikes.state()}
    complete(hook, clock, [5.0] * 50, progress, 51)
    hook.on_rollback(SimpleNamespace(data_state=50))  # type: ignore[arg-type]
    complete(hook, clock, [3.0] * 30 + [9.0] * 40, TrainProgress.from_meta(50, meta), 51)
    assert [event.step for event in published if isinstance(event, Spike)] == [65, 81]


@pytest.mark.parametrize("at", [60, 100, 101, 102, 103, 109])
def test_a_resume_warns_of_a_spike_as_the_whole_run(at: int) -> None:
    losses = [3.0] * 100 + [9.0] * 10 + [3.0] * 20
    session, published, clock = parts()
    session.data = SimpleNamespace(
        documents_between=lambda before, after: BatchOrigin("text", before, after - before, [])
    )
    progress = complete(HealthHook(session), clock, losses[:at])
    again = TrainProgress.from_meta(at, json.loads(json.dumps({"spikes": progress.spikes.state()})))
    hook = HealthHook(session)
    hook.on_start(SimpleNamespace(progress=again, data_state=at))  # type: ignore[arg-type]
    complete(hook, clock, losses[at:], again, at + 1)
    hook.close()
    [event] = published
    assert isinstance(event, Spike)
    assert (event.step, event.loss, event.action) == (101, 9.0, "warn")
    # The batch of a step before the resume is not known any more.
    assert event.document_count == (0 if at in (101, 102) else 1)


def test_a_stall_is_told_by_the_thread_and_not_during_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "POLL_SECONDS", 0.001)
    session, published, clock = parts()
    session.config.notify = NotifyConfig(disk_checkpoints=0)
    hook = HealthHook(session)
    complete(hook, clock, [3.0] * 10)
    looks: list[float] = []
    check = hook._stall.check
    monkeypatch.setattr(hook._stall, "check", lambda *args, **kwargs: looks.append(clock()) or check(*args, **kwargs))

    def wait_for_looks() -> None:
        seen = len(looks)
        while len(looks) < seen + 3:
            pass

    hook.on_start(SimpleNamespace(progress=SimpleNamespace(step=10), data_state=10))  # type: ignore[arg-type]
    with session.budget.measure("eval"):
        clock.seconds += 1_000
        wait_for_looks()
    assert published == []
    clock.seconds += 100
    wait_for_looks()
    hook.close()
    [event] = published
    assert isinstance(event, Warned)
    assert (event.topic, event.step) == ("stalled", 10)


def test_a_disk_without_room_for_two_checkpoints_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "demo")
    session, published, _ = parts(run)
    hook = HealthHook(session)
    free = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    # Without a checkpoint its size is not known.
    run.checkpoints.mkdir()
    hook._check_disk(1)
    assert published == []
    make_checkpoint(run, 10)
    hook._check_disk(10)
    hook._check_disk(11)
    free = 10**12
    hook._check_disk(12)
    free = 15_000
    hook._check_disk(13)
    assert [event.step for event in published if isinstance(event, Warned) and event.topic == "disk"] == [10, 13]
    assert "room for 1 more checkpoint of" in published[1].message  # type: ignore[attr-defined]
    shutil.rmtree(run.path)
    hook._check_disk(14)
