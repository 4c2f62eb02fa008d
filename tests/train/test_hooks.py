"""A user's own hook: in the order of the others, with its cadence and its command, resumed if a stop cut it short."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chomp.config.load import load_config
from chomp.errors import ConfigError
from chomp.record.commands import Command, send_command
from chomp.record.events import Acknowledged, RunEnded, Warned
from chomp.record.manifest import Resume, list_checkpoints
from chomp.train.control import StopRequest, StopRequestedError, StopSwitch
from chomp.train.hooks.base import Hook, run_hooks
from chomp.train.loop import run_training
from chomp.train.progress import TrainProgress
from chomp.train.request import RunRequest
from chomp.train.restorer import Start
from chomp.train.trainer import Trainer
from tests.engine import dummy_config, events_of, rows, write_config, write_corpus
from tests.in_process import restored_state

log = logging.getLogger("own")
ROOT = Path(__file__).parents[2]


@pytest.mark.process
def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "hooks.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "norms.py").write_text(code)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    done = subprocess.run([sys.executable, "norms.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"step (\d+): parameter norm \d+\.\d{3}", done.stdout) == ["5", "10", "15", "20"]
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert [row["step"] for row in rows(run_dir)] == [1, *range(2, 21, 2)]
    assert (run_dir / "checkpoints" / "20" / "manifest.json").exists()


class OwnHook(Hook):
    """Has a command and a job; a stop during the first attempt cuts the job short."""

    every, command, job = 4, "norm", "norm"

    def __init__(self, resume: Resume):
        self.resume, self.steps = resume, list[int]()

    def on_start(self, trainer: Trainer) -> None:
        for name in ("norm", "nrom"):
            send_command(trainer.session.run.commands, Command(name, id=name))

    def on_step(self, trainer: Trainer) -> None:
        if self.resume == "none":
            trainer.session.switch.set(StopRequest("stopped by the hook", 143))
        trainer.session.switch.check()
        self.steps.append(trainer.progress.step)

    def on_command(self, trainer: Trainer, command: Command) -> str:
        return f"the norm of step {trainer.progress.step}"


def test_a_hook_answers_its_command_and_is_done_again_where_a_stop_cut_it_short(tmp_path: Path) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 10})
    loaded = load_config(write_config(tmp_path / "config.yaml", config))
    first, second = OwnHook("none"), OwnHook("latest")
    with restored_state():
        assert run_training(RunRequest(loaded, tmp_path / "run", first.resume), [first]) == 143
        (saved,) = list_checkpoints(tmp_path / "run" / "checkpoints")
        assert (saved.step, saved.meta["owed"], first.steps) == (4, ["norm"], [])
        assert run_training(RunRequest(loaded, tmp_path / "run", second.resume), [second]) == 0
    assert second.steps == [4, 8, 10]
    answers = [(a.command, a.ok, a.message) for a in events_of(tmp_path / "run", Acknowledged)]
    unknown = "unknown command 'nrom'; known: abort, eval, pause, profile, resume, sample, save, skip, stop"
    assert answers == [
        answer for step in (0, 4) for answer in (("norm", True, f"the norm of step {step}"), ("nrom", False, unknown))
    ]


class FailingHook(Hook):
    """Writes to a folder of the run that is not there, as the engine opens files of the run."""

    every = 4

    def on_step(self, trainer: Trainer) -> None:
        path = trainer.session.claim.files.path / "gone" / "norms.txt"
        trainer.session.reporter.publish(Warned(topic="own", message=f"writing {path}"))
        log.warning("writing %s", path)
        path.write_text("1.0")


def test_a_failure_names_the_file_by_the_path_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 10})
    loaded = load_config(write_config(tmp_path / "config.yaml", config))
    run_dir, path = tmp_path / "run", tmp_path / "run" / "gone" / "norms.txt"
    with restored_state():
        assert run_training(RunRequest(loaded, run_dir), [FailingHook()]) == 1
    reason = f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'"
    assert [event.reason for event in events_of(run_dir, RunEnded)] == [reason]
    assert f"writing {path}" in [event.message for event in events_of(run_dir, Warned)]
    said, logged = "".join(capsys.readouterr()), (run_dir / "train.log").read_text()
    assert reason in said
    assert f"writing {path}\n" in logged
    assert f"\n{reason}\n" in logged
    files = [run_dir / "events.jsonl", run_dir / "commands.jsonl"]
    for text in (said, logged, *(file.read_text() for file in files if file.exists())):
        assert "/proc/self/fd" not in text


class Recorder(Hook):
    """Writes down when it was called."""

    def __init__(self, calls: list[str], name: str, *, every: int = 1, job: str | None = None):
        self.calls, self.name, self.every, self.job, self.command = calls, name, every, job, name

    def on_step(self, trainer: Any) -> None:
        self.calls.append(f"{self.name} {trainer.progress.step}")

    def on_command(self, trainer: Any, command: Command) -> str:
        if command.args:
            raise ConfigError("takes no arguments")
        return f"{self.name} at step {trainer.progress.step}"


class StoppingHook(Recorder):
    """A signal arrives while it works."""

    def on_step(self, trainer: Any) -> None:
        trainer.session.switch.set(StopRequest("SIGTERM received", 143))
        super().on_step(trainer)


class FakeSession:
    def __init__(self) -> None:
        self.switch = StopSwitch()


class FakeTrainer:
    def __init__(self) -> None:
        self.session = FakeSession()
        self.progress = TrainProgress(step=5)
        self.check_stop = self.session.switch.check


def test_the_cadence_includes_the_last_step_and_never_step_0() -> None:
    hook = Recorder([], "a", every=4)
    assert [step for step in range(12) if hook.is_due(step, 11)] == [4, 8, 11]
    assert not any(Hook().is_due(step, 11) for step in range(12))


def test_jobs_behind_a_stop_are_noted_as_unfinished() -> None:
    calls: list[str] = []
    trainer: Any = FakeTrainer()
    due = [StoppingHook(calls, "a", job="a"), Recorder(calls, "b"), Recorder(calls, "c", job="c"), Recorder(calls, "d")]
    with pytest.raises(StopRequestedError):
        run_hooks(trainer, due)
    assert calls == ["a 5", "b 5"]
    assert trainer.progress.unfinished_jobs == ["c"]


def test_all_jobs_done_leaves_nothing_unfinished() -> None:
    calls: list[str] = []
    trainer: Any = FakeTrainer()
    trainer.progress.unfinished_jobs = ["of a hook that is gone"]
    run_hooks(trainer, [Recorder(calls, "a", job="a"), Recorder(calls, "b")])
    assert (calls, trainer.progress.unfinished_jobs) == (["a 5", "b 5"], [])


def test_older_checkpoints_name_their_unfinished_jobs_and_carry_the_deferred_row() -> None:
    meta = {"owed": ["eval", "sample"], "owed_row": {"step": 5, "loss": 1.5}}
    assert TrainProgress.from_meta(5, meta).unfinished_jobs == ["eval", "sample"]
    start = Start(step=5, meta=meta)
    assert (start.unfinished_jobs, start.deferred_row) == (["eval", "sample"], {"step": 5, "loss": 1.5})
    assert (Start().unfinished_jobs, Start().deferred_row) == ([], None)
