"""`chomp plan` with steps that are measured, and its run trained to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chomp.config.load import load_config
from chomp.record.events import RunEnded
from tests.engine import events_of, rows, run, write_corpus


@pytest.mark.soak
@pytest.mark.parametrize(("model", "optimizer"), [("llama", "muon"), ("megalodon", "adamw")])
def test_a_plan_of_measured_steps_is_a_run(
    model: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A speed that a run has measured goes before that of a plan, also one of this test's own run the last time.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    corpus, base, output = write_corpus(tmp_path / "corpus", documents=400), tmp_path / "base.yaml", tmp_path / "p.yaml"
    base.write_text(f"data: {{backend: files, files: ['{corpus}/*.txt'], max_eval_samples: 3}}\n")
    goal = ("--hours", 0.015, "--seq-len", 64, "--model", model, "--optimizer", optimizer)
    # More tokens of each parameter than any machine reads in the time: the smallest size is measured, too.
    done = run("plan", base, *goal, "--ratio", 1e6, "--output", output, "--json", "-o", "train.allow_cpu=true")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    sizes, proposal = planned["sizes"], planned["proposal"]
    assert {one["dim"] for one in sizes} == {64, 128}
    assert all(one["tokens_per_second"] > 0 and one["steps"] > 0 and one["compile_seconds"] > 0 for one in sizes)
    assert proposal["size"] in sizes
    assert proposal["size"]["dim"] == 64
    config = load_config(output).config
    assert (config.model.backend, config.optim.name, config.model.model_dim) == (model, optimizer, 64)
    checked = run("config", "check", output)
    assert (checked.returncode, checked.stdout.startswith("OK ")) == (0, True), checked.stderr
    looked_at = run("inspect", output)
    assert looked_at.returncode == 0, looked_at.stderr
    assert "cannot start" not in looked_at.stdout + looked_at.stderr
    assert "as measured in chomp plan" in looked_at.stdout
    # How fast this machine is now is not the test's subject.
    trained = run("train", output, "--run-dir", tmp_path / "run", "-o", "train.max_seconds=null")
    assert trained.returncode == 0, trained.stderr
    assert events_of(tmp_path / "run", RunEnded)[-1].status == "completed"
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert rows(tmp_path / "run")[-1]["step"] == proposal["steps"]
    assert losses[-1] < losses[0]
