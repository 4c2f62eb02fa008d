"""The measured time of a step: which steps count, and what comes on top of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chomp.config import parse_config
from chomp.parallel.mesh import ONE_DEVICE
from chomp.parallel.world import World
from chomp.record.rundir import RunDir
from chomp.record.speeds import MeasuredSpeed, load_speed, speed_file
from chomp.train.clock import TimeBudget
from chomp.train.hooks import speed
from chomp.train.hooks.speed import SpeedHook

pytestmark = pytest.mark.pure


class Training:
    """Steps of a second each by a clock of its own."""

    def __init__(self, *, dry_run: bool = False) -> None:
        self.now = 0.0
        self.config = parse_config("{}", source="t").config
        self.budget = TimeBudget(now=lambda: self.now)
        session: Any = SimpleNamespace(
            budget=self.budget,
            config=self.config,
            blueprint=SimpleNamespace(placement=ONE_DEVICE),
            run=RunDir(Path("runs/mine")),
            request=SimpleNamespace(dry_run=dry_run),
            world=World(),
        )
        self.hook = SpeedHook(session)

    def steps(self, count: int, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.now += seconds
            self.hook.on_completed(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(tokens=8))  # type: ignore[arg-type]

    def spend(self, category: str, seconds: float) -> None:
        with self.budget.measure(category):
            self.now += seconds

    def kept(self) -> MeasuredSpeed | None:
        return load_speed(speed_file(self.config, "cpu"))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "device_facts", lambda placement: {"name": "cpu"})


def test_the_first_steps_do_not_count_and_a_pause_is_no_overhead() -> None:
    training = Training()
    training.steps(3, seconds=50.0)
    training.steps(9)
    training.spend("eval", 3.0)
    training.spend("save", 2.0)
    training.spend("paused", 500.0)
    training.steps(11)
    assert training.hook.is_due(20, 20)
    training.hook.on_step(SimpleNamespace())  # type: ignore[arg-type]
    found = training.kept()
    assert found is not None
    assert (found.run, found.steps, found.step_seconds) == ("mine", 20, pytest.approx(1.0))
    assert found.overhead_seconds == pytest.approx(0.25)


def test_it_is_kept_while_training_goes_on() -> None:
    training = Training()
    training.steps(12)
    assert training.kept() is None
    training.steps(2)
    found = training.kept()
    assert found is not None
    assert found.steps == 10


def test_few_steps_and_dry_runs_measure_nothing() -> None:
    for training, steps in ((Training(), 12), (Training(dry_run=True), 50)):
        training.steps(steps)
        training.hook.on_step(SimpleNamespace())  # type: ignore[arg-type]
        assert training.kept() is None


def test_a_state_folder_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    training = Training()
    training.steps(50)
    assert training.kept() is None
