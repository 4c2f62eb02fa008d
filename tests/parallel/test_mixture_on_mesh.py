"""A mixture, and the moving average of the parameters: whatever computes the run, it is the same one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.record.events import Warned
from tests.engine import (
    assert_same_run,
    dummy_config,
    events_of,
    exact_rows,
    run,
    saved_arrays,
    saved_position,
    write_config,
    write_corpus,
)
from tests.parallel.group import Group
from tests.references import References

pytestmark = pytest.mark.process

STEPS, SAVED, CONTINUED = 30, (10, 20, 30), 10
FSDP = ("-o", "parallel.fsdp=4")
ONE = ("--devices", "0")
WHOLE = {"one": ONE, "data": (), "fsdp": FSDP, "again": FSDP}
# Copies of these runs, continued from step 10: the source has ended and the second stage begun after it.
RESUMED = {
    "fsdp-same": ("fsdp", FSDP),
    "fsdp-one": ("fsdp", ONE),
    "one-both": ("one", ("-o", "parallel.data=2", "-o", "parallel.fsdp=2")),
}
# What does not depend on how sums are ordered.
COUNTED = ("step", "lr", "tokens_seen", "packing_utilization")


def configured(folder: Path) -> Path:
    """Two sources in two stages, of which one ends within the run."""
    texts = {"big": write_corpus(folder / "big"), "small": write_corpus(folder / "small", documents=8, seed=1)}
    weights, more = {"big": 0.7, "small": 0.3}, {"big": {}, "small": {"max_epochs": 2}}
    config = dummy_config(
        folder,
        # Wide enough that its matrices are cut.
        model={"model_dim": 64},
        train={"steps": STEPS, "grad_accum": 4, "eval_every": 10},
        optim={"ema": {"decay": 0.9}},
        checkpoint={"save_every": 10, "max_to_keep": 9},
    )
    data: dict[str, Any] = {
        "packing_mode": "bin",
        "packing_buffer_docs": 7,
        "mixture": {
            "sources": {
                name: {"backend": "files", "files": [str(text / "*.txt")], "weight": weights[name], **more[name]}
                for name, text in texts.items()
            },
            "stages": {"late": {"from_tokens": 4000, "weights": {"big": 0.5, "small": 0.5}}},
            "exhausted": "renormalise",
        },
    }
    return write_config(folder / "config.yaml", {**config, "data": data})


def trained(folder: Path) -> None:
    config = configured(folder)
    for name, options in WHOLE.items():
        done = run("train", config, "--run-dir", folder / name, *options, module="tests.parallel.four")
        assert done.returncode == 0, done.stderr
    for name, (source, options) in RESUMED.items():
        shutil.copytree(folder / source, folder / name)
        words = ("--run-dir", folder / name, "--resume", CONTINUED, "-o", "parallel.data=-1", "-o", "parallel.fsdp=1")
        done = run("train", *words, *options, module="tests.parallel.four")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def runs(references: References) -> Path:
    """The folder with all runs, each by its name."""
    return references.folder("mixture-on-meshes", trained)


def counts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in row if name in COUNTED or name.startswith(("tokens/", "epochs/"))}


def require_same(found: Path, expected: Path) -> None:
    """The batches of another run, and its losses but for the order of sums."""
    one, other = exact_rows(expected), exact_rows(found)
    assert [counts(row) for row in other] == [counts(row) for row in one]
    for theirs, ours in zip(one, other, strict=True):
        assert ours.keys() == theirs.keys()
        losses = [name for name in theirs if "loss" in name or "bpb" in name]
        assert [ours[name] for name in losses] == pytest.approx([theirs[name] for name in losses], abs=1e-5, rel=0)
    for step in SAVED:
        assert saved_position(found, step) == saved_position(expected, step)


@pytest.mark.parametrize("name", ["data", "fsdp", *RESUMED])
def test_the_same_batches_shares_and_averages_on_every_mesh(name: str, runs: Path) -> None:
    one = runs / "one"
    (ended,) = [event for event in events_of(one, Warned) if "is exhausted" in event.message]
    assert ended.step is not None
    assert CONTINUED < ended.step < STEPS
    require_same(runs / name, one)
    theirs, ours = saved_arrays(one, STEPS), saved_arrays(runs / name, STEPS)
    assert theirs.keys() == ours.keys()
    averages = [array for array in theirs if array.startswith("ema/")]
    assert averages
    for array in averages:
        # AdamW makes much of the last digits of small gradients; one update more or less would be a thousandth.
        assert np.abs(theirs[array] - theirs[array.replace("ema/", "params/")]).max() > 1e-3
        np.testing.assert_allclose(ours[array], theirs[array], rtol=0, atol=2e-5, err_msg=array)


@pytest.mark.parametrize("name", ["again", "fsdp-same"])
def test_the_same_mesh_repeats_every_bit(name: str, runs: Path) -> None:
    assert_same_run(runs / "fsdp", runs / name, STEPS)


def test_two_processes_train_the_same_run_and_one_continues_it(runs: Path, tmp_path: Path) -> None:
    with Group(tmp_path / "run", runs / "config.yaml") as group:
        assert group.finish() == [0, 0], group.texts()
    require_same(group.run_dir, runs / "one")
    done = run("train", "--run-dir", group.run_dir, "--resume", CONTINUED)
    assert done.returncode == 0, done.stderr
    require_same(group.run_dir, runs / "one")
