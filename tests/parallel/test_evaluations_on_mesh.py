"""Evaluation sets and tasks: whatever computes the run, the scores are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.record.events import SetEvaluated, TaskEvaluated
from tests.conftest import ROOT
from tests.engine import dummy_config, events_of, run, write_config, write_corpus
from tests.parallel.group import Group

pytestmark = [pytest.mark.process, pytest.mark.soak]

STEPS = 4


def scores(folder: Path) -> list[tuple[str, int, int, list[float]]]:
    """Of each evaluation its name, step, what it scored, and the numbers that only the order of sums may change."""
    sets = [
        (one.name, one.step, one.tokens, [one.loss, one.bpb or 0.0, one.ema_loss or 0.0])
        for one in events_of(folder, SetEvaluated)
    ]
    tasks = [
        (one.name, one.step, one.examples, [one.bpb, one.centered, one.accuracy, one.ema_bpb or 0.0])
        for one in events_of(folder, TaskEvaluated)
    ]
    return sorted([*sets, *tasks])


def require_same(found: Path, expected: Path) -> None:
    ours, theirs = scores(found), scores(expected)
    assert [one[:3] for one in ours] == [one[:3] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one[3] == pytest.approx(other[3], rel=1e-5, abs=1e-6), one[0]


def test_sets_and_tasks_score_the_same_on_meshes_and_by_two_processes(tmp_path: Path) -> None:
    config = dummy_config(
        write_corpus(tmp_path / "text"),
        model={"model_dim": 64},
        train={"steps": STEPS, "grad_accum": 4, "eval_every": 2},
        optim={"ema": {"decay": 0.9}},
    )
    # As many rows as no number of devices divides.
    other = write_corpus(tmp_path / "other", documents=3, seed=2)
    sets = {"other": {"files": [str(other / "*.txt")]}}
    tasks = {name: {"path": str(ROOT / "configs" / "tasks" / f"python_{name}.jsonl")} for name in ("cloze", "choice")}
    path = write_config(tmp_path / "config.yaml", {**config, "evaluation": {"sets": sets, "tasks": tasks}})
    meshes = {"one": ("--devices", "0"), "data": (), "fsdp": ("-o", "parallel.fsdp=4")}
    for name, options in meshes.items():
        done = run("train", path, "--run-dir", tmp_path / name, *options, module="tests.parallel.four")
        assert done.returncode == 0, done.stderr
    named = {name for name, *_ in scores(tmp_path / "one")}
    assert named == {"other", "cloze", "choice"}
    assert len(scores(tmp_path / "one")) == 3 * STEPS / 2
    require_same(tmp_path / "data", tmp_path / "one")
    require_same(tmp_path / "fsdp", tmp_path / "one")
    with Group(tmp_path / "two", path) as group:
        assert group.finish() == [0, 0], group.texts()
    require_same(group.run_dir, tmp_path / "one")
