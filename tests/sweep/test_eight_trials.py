"""A sweep of eight trials with real engines: pruned by their evaluation curves, and carried on by a second runner."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from chomp.queue import launch
from chomp.queue.folder import QueueFolder
from chomp.sweep.folder import open_sweep
from chomp.sweep.report import read_report
from chomp.sweep.service import QueueService
from tests.engine import dummy_config, write_config, write_corpus, write_forking_command
from tests.in_process import run as run_here

pytestmark = pytest.mark.process
SECONDS = 240
# The first four learn. The others learn nothing.
SWEEP = """\
config: base.yaml
space:
  optim.lr: {choice: [0.01, 1.0e-9]}
  train.seed: {int: [0, 3]}
prune: {keep: 0.5, after: 0, at_least: 5}
"""


def test_eight_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chomp = tmp_path / "chomp"
    write_forking_command(chomp)
    monkeypatch.setattr(launch, "engine_command", lambda *arguments: [str(chomp), *arguments])
    train = {"steps": 600, "eval_every": 20, "log_every": 100}
    corpus = write_corpus(tmp_path / "corpus")
    write_config(tmp_path / "base.yaml", dummy_config(corpus, train=train, checkpoint={"save_every": 0}))
    (tmp_path / "lr.yaml").write_text(SWEEP)
    queue = QueueFolder(tmp_path / "queue")
    sweep, _ = open_sweep(queue, tmp_path / "lr.yaml")

    said: list[str] = []
    service = QueueService(queue, said.append)
    deadline = time.monotonic() + SECONDS
    was_replaced = False
    while read_report(sweep).state != "done":
        assert time.monotonic() < deadline, "\n".join(said)
        service.look()
        if not was_replaced and len(sweep.read()) == 6:
            # As after a kill: only the disk knows the trial that trains now.
            was_replaced, service = True, QueueService(queue, said.append)
        time.sleep(0.02)

    report = read_report(sweep)
    assert [trial.state for trial in sorted(report.ranking, key=lambda trial: trial.number)] == [
        *["complete"] * 4, *["pruned"] * 4
    ]  # fmt: skip
    assert [trial.values["optim.lr"] for trial in report.ranking] == [*[0.01] * 4, *[1e-9] * 4]
    scores = [trial.score for trial in report.ranking[:4]]
    assert scores == sorted(scores, key=lambda score: score or 0.0)
    assert all(0 < trial.step < 600 and trial.reason.startswith("pruned at step") for trial in report.ranking[4:])
    assert [len(job.attempts) for job in queue.read().jobs] == [1] * 8
    shown = run_here("sweep", "show", "lr", "--json", "--queue", queue.path)
    assert json.loads(shown.stdout)["ranking"][0]["score"] == scores[0]
    assert "done: 4 complete, 4 pruned of 8" in run_here("sweep", "list", "--queue", queue.path).stdout
