"""The mean of checkpoints is a run that other commands open, and so is a moving average by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from chomp.record.events import Evaluated
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import dummy_config, events_of, saved_arrays, write_config
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


@pytest.fixture
def trained(references: References) -> Path:
    return references.folder("average", lambda folder: _train(folder, references.corpus))


def _train(folder: Path, corpus: Path) -> None:
    config = dummy_config(
        corpus,
        train={"steps": 15, "eval_every": 15},
        optim={"ema": {"decay": 0.5}},
        checkpoint={"save_every": 5, "max_to_keep": 3},
    )
    done = run("train", write_config(folder / "config.yaml", config), "--run-dir", folder / "demo")
    assert done.returncode == 0, done.stderr


def loss_of(*args: object) -> dict[str, float]:
    done = run("eval", *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_mean_of_checkpoints_is_a_run_of_its_own(trained: Path, tmp_path: Path) -> None:
    demo, new = trained / "demo", tmp_path / "mean"
    done = run("average", demo, new, "--note", "last two", "--last", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{new} is the average of 2 checkpoints (step 10, 15)\n")
    (info,) = list_checkpoints(new / "checkpoints")
    assert (info.step, verify(info.path)) == (15, [])
    weights = [saved_arrays(demo, step) for step in (10, 15)]
    from orbax.checkpoint import v1 as ocp

    for name, found in ocp.load_checkpointables(info.path, {"params": None})["params"].items():
        first, second = (arrays[f"params/{name}"].astype(np.float64) for arrays in weights)
        np.testing.assert_array_equal(found, ((first + second) / 2).astype(np.float32), err_msg=name)
    (told,) = events_of(new, Evaluated)
    assert loss_of(new)["loss"] == told.loss
    (row,) = json.loads(run("runs", tmp_path, "--json").stdout)
    assert (row["name"], row["status"], row["averaged"]) == ("mean", "completed", 2)
    assert row["best_eval_loss"] == pytest.approx(told.loss, rel=1e-6)
    assert "average of 2 checkpoints of demo step 15" in run("runs", tmp_path).stdout
    written = run("generate", new, "--max-tokens", 2, "--seed", 1)
    assert written.returncode == 0, written.stderr
    resumed = run("train", "--run-dir", new, "--resume", "latest", "-o", "train.steps=20")
    assert resumed.returncode == 5
    assert "holds averaged parameters and no optimizer state" in resumed.stderr
    assert "Traceback" not in resumed.stderr
    # A resume that is refused leaves it what it was.
    (row,) = json.loads(run("runs", tmp_path, "--json").stdout)
    assert (row["status"], row["averaged"]) == ("completed", 2)
    assert row["reason"].startswith("it was not resumed: checkpoint ")
    forked = run("fork", new, tmp_path / "fork")
    assert (forked.returncode, forked.stdout) == (5, "")
    assert "no optimizer state, so that training cannot continue from it; start a new run" in forked.stderr
    assert f"-o model.init_from={new / 'checkpoints' / '15'}" in forked.stderr
    assert not (tmp_path / "fork").exists()
    for command in (("explain", new, 3), ("replay", new)):
        done = run(*command)
        assert done.returncode == 5
        assert f"{new} is an average of 2 checkpoints of demo step 15, and has no steps of its own" in done.stderr


def test_an_average_names_all_runs_that_it_is_of(trained: Path, tmp_path: Path) -> None:
    other, new = Path(shutil.copytree(trained / "demo", tmp_path / "other")), tmp_path / "mean"
    shutil.rmtree(other / "checkpoints" / "15")
    done = run("average", trained / "demo", other, new, "--no-eval")
    assert done.returncode == 0, done.stderr
    assert "average of 5 checkpoints of demo, other step 15" in run("runs", tmp_path).stdout
    (row,) = [row for row in json.loads(run("runs", tmp_path, "--json").stdout) if row["averaged"]]
    assert row["averaged_runs"] == [str(trained / "demo"), str(other)]


def test_the_moving_average_is_scored_listed_and_exported_by_name(trained: Path, tmp_path: Path) -> None:
    demo, new = trained / "demo", tmp_path / "ema"
    (told,) = events_of(demo, Evaluated)
    assert told.ema_loss is not None
    assert told.ema_loss != told.loss
    assert loss_of(demo, "--ema")["loss"] == told.ema_loss
    assert loss_of(demo)["loss"] == told.loss
    lines = run("runs", trained, "--columns", "name,eval").stdout.splitlines()
    assert sorted(line.split()[0] for line in lines[1:]) == ["demo", "demo"]
    assert sum("· ema" in line for line in lines) == 1
    done = run("average", demo / "checkpoints" / "15", new, "--ema", "--no-eval")
    assert done.returncode == 0, done.stderr
    assert loss_of(new)["loss"] == told.ema_loss
    refused = run("eval", new, "--ema")
    assert refused.returncode == 5
    assert "has no moving average of the parameters" in refused.stderr


def test_what_cannot_be_averaged_is_one_sentence_and_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    shutil.copytree(trained / "demo", demo)
    meta = demo / "checkpoints" / "10" / "meta.json"
    for arguments, code, sentence in (
        ((demo / "checkpoints" / "5", tmp_path / "new"), 5, "is the only checkpoint: there is nothing to average"),
        ((demo, demo), 5, "already exists; the new run needs a new name"),
        ((demo, demo / "new"), 5, "lies inside"),
        ((tmp_path / "nowhere", tmp_path / "new"), 5, "there is no run directory at"),
    ):
        done = run("average", *arguments, "--no-eval")
        assert (done.returncode, done.stdout) == (code, "")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    meta.write_text(meta.read_text() + " ")
    done = run("average", demo, tmp_path / "new", "--no-eval")
    assert (done.returncode, done.stdout) == (5, "")
    assert "meta.json has" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]
