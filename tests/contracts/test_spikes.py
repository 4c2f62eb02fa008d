"""Spikes under the policies that refuse them, and the moving average of the parameters, exact under resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chomp.record.events import RolledBack, Spike
from tests.engine import assert_same_run, dummy_config, events_of, rows, saved_arrays, write_config, write_corpus
from tests.in_process import run
from tests.poisoned import POISON, poisoned_models

pytestmark = pytest.mark.compile

STEPS, BEFORE = 110, 70
# Documents that are read between these steps.
BAD = (20, 24)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_spike_is_refused_and_a_resume_refuses_the_same(policy: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=90)
    for number in BAD:
        (corpus / f"{number:03d}.txt").write_text(f"def {POISON} class return\n")
    config = dummy_config(
        corpus,
        data={"packing_mode": "sequential", "shuffle": False},
        train={"steps": STEPS, "eval_every": 40},
        optim={"ema": {"decay": 0.9}},
        checkpoint={"save_every": 35, "max_to_keep": 20},
        debug={"spikes": policy, "rollback_lr_factor": 0.5},
    )
    whole, again = tmp_path / "whole", tmp_path / "again"
    with poisoned_models(4.0):
        done = run("train", write_config(tmp_path / "config.yaml", config), "--run-dir", whole)
        assert done.returncode == 0, done.stderr
        shutil.copytree(whole, again)
        resumed = run("train", "--run-dir", again, "--resume", BEFORE)
        assert resumed.returncode == 0, resumed.stderr
    spikes, backs = events_of(whole, Spike), events_of(whole, RolledBack)
    assert spikes, "there were bad documents"
    assert all(event.step > BEFORE and event.action == policy for event in spikes)
    assert set(BAD) & {number for event in spikes for number in event.documents}
    arrays = saved_arrays(whole, STEPS)
    if policy == "skip":
        assert backs == []
        assert int(arrays["spikes/refused"]) == len(spikes) == STEPS - int(arrays["state/updates"])
    else:
        assert [(event.from_step, event.cause) for event in backs] == [(event.step, "spike") for event in spikes]
        assert int(arrays["state/updates"]) == STEPS
    assert_same_run(whole, again, STEPS)
    evaluated = [row for row in rows(whole) if "eval_loss" in row]
    assert [row["step"] for row in evaluated] == [40, 80, STEPS]
    assert all(row["eval_ema_loss"] != row["eval_loss"] for row in evaluated)
