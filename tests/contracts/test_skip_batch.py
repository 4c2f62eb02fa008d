"""`chomp ctl RUN skip`: the run goes back before a step, leaves out its batch, and does so again after a kill."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chomp.config import load_config
from chomp.record.commands import Command, send_command
from chomp.record.events import Acknowledged, RolledBack, Warned
from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook
from chomp.train.loop import run_training
from chomp.train.progress import Pending
from chomp.train.request import RunRequest
from chomp.train.trainer import Trainer
from tests.engine import assert_same_run, dummy_config, events_of, exact_rows, write_config
from tests.in_process import restored_state, run
from tests.references import References

pytestmark = pytest.mark.compile


@dataclass
class User(Hook):
    """Sends commands after steps, and copies the run directory as a kill would leave it.

    Attributes:
        skips: the step after which each command is sent, and the step that it names.
        copied_at: the step at which the first copy after a rollback is made.
    """

    run: Path
    skips: list[tuple[int, int]]
    copied_at: int = 0
    went_back: bool = field(default=False, init=False)

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        if self.skips and completed.step == self.skips[0][0]:
            send_command(self.run / "commands.jsonl", Command("skip", args={"step": self.skips.pop(0)[1]}))
        if self.went_back and self.copied_at == completed.step:
            trainer.session.store.wait()
            shutil.copytree(self.run, self.run.with_name("killed"))
            self.copied_at = 0

    def on_rollback(self, trainer: Trainer) -> None:
        self.went_back = True


def trained(config: Path, user: User) -> Path:
    with restored_state():
        assert run_training(RunRequest(loaded=load_config(config), run_dir=user.run), [user]) == 0
    return user.run


def test_a_batch_is_left_out_exactly_and_the_steps_before_it_stay(references: References, tmp_path: Path) -> None:
    settings = dummy_config(references.corpus, checkpoint={"max_to_keep": 9})
    plain, config = references.run(run, settings), write_config(tmp_path / "config.yaml", settings)
    user = User(tmp_path / "run", [(13, 8), (14, 30)], copied_at=7)
    found = trained(config, user)

    [event] = events_of(found, RolledBack)
    assert (event.step, event.skipped_step, event.lr_factor) == (5, 8, 1.0)
    answers = events_of(found, Acknowledged)
    assert [answer.ok for answer in answers] == [True, False]
    assert "--step must be a step that has been trained, from 1 to" in answers[1].message
    [left_out] = [one for one in events_of(found, Warned) if one.topic == "skip"]
    assert left_out.step == 8
    assert exact_rows(found)[:7] == exact_rows(plain)[:7]
    assert exact_rows(found)[7]["lr"] == exact_rows(plain)[7]["lr"]
    assert exact_rows(found)[7]["loss"] != exact_rows(plain)[7]["loss"]

    # Killed after it went back, and before any checkpoint that knows of it.
    killed = tmp_path / "killed"
    resumed = run("train", "--run-dir", killed, "--resume", "latest")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(found, killed, 20)
    replayed = run("replay", killed, "--steps", 20)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr

    # What was left out can still be explained; its place has the batch after it.
    was, now, then = (
        json.loads(done.stdout)
        for done in (
            run("explain", found, 8, "--discarded", "--json"),
            run("explain", found, 8, "--json"),
            run("explain", plain, 8, "--json", "--most-steps", 0),
        )
    )
    assert was["loss"] == pytest.approx(exact_rows(plain)[7]["loss"], rel=1e-5)
    assert now["loss"] == pytest.approx(exact_rows(found)[7]["loss"], rel=1e-5)
    assert (was["parameters_of"], was["checkpoint"], was["exact"]) == (7, 5, True)
    assert was["why_not_exact"] == []
    assert (then["parameters_of"], then["exact"]) == (5, False)
    assert then["why_not_exact"] == [
        "the parameters are those of the checkpoint of step 5, 2 steps before; --most-steps 2 computes them"
    ]
    assert {(one["place"], one["start"]) for one in was["top"]} == {(one["place"], one["start"]) for one in then["top"]}
    assert {(one["place"], one["start"]) for one in was["top"]} != {(one["place"], one["start"]) for one in now["top"]}
    best = now["top"][0]
    assert best["beginning"] in Path(best["place"]).read_text()
    listed = run("explain", found, 8, "--top", 1)
    assert f"{best['place']}, from token {best['start']} on" in listed.stdout
    for step, options, words in (
        (30, (), "step 30 has not been trained"),
        (9, ("--discarded",), "--discarded"),
        (0, (), "Invalid value"),
    ):
        refused = run("explain", plain, step, *options)
        assert refused.returncode == 2, refused.stdout
        assert words in refused.stderr
