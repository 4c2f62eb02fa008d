"""A fork compared with its parent, both trained by a real engine, and the example of the documentation."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import chomp
from chomp.errors import CheckpointError
from chomp.record.notes import Notes
from tests.engine import dummy_config, saved_arrays, write_config, write_corpus
from tests.in_process import run

pytestmark = pytest.mark.compile

PAGE = Path(__file__).parents[2] / "docs" / "comparing.md"


def test_a_fork_with_a_lower_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"steps": 60, "eval_every": 20, "log_every": 1}
    config = dummy_config(
        write_corpus(tmp_path / "corpus"), train=settings, checkpoint={"save_every": 20, "max_to_keep": 9}
    )
    path = write_config(tmp_path / "config.yaml", config)
    for words in (
        ("train", path, "--run-dir", "runs/base", "--name", "first", "--tag", "smoke"),
        ("fork", "runs/base", "runs/lower", "--step", 20, "--tag", "lr"),
        (
            "train",
            "--run-dir",
            "runs/lower",
            "--resume",
            20,
            "--accept",
            "optim.lr",
            "-o",
            "optim.lr=1e-5",
            "--note",
            "x",
        ),
        ("train", path, "--run-dir", "runs/seed", "-o", "train.seed=7"),
    ):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout

    found = json.loads(run("compare", "runs/lower", "--json", cwd=tmp_path).stdout)
    assert [one["setting"] for one in found["differences"]] == ["optim.lr"]
    assert (found["batches"]["same"], found["batches"]["after_step"]) == (True, 20)
    assert found["paired"]["rows"] == 40
    assert found["paired"]["newest"]["mean"] > found["paired"]["newest"]["half_width"] > 0
    assert "lower is higher than base, beyond the noise" in found["paired"]["verdict"]
    # Another seed has another order.
    other = json.loads(run("compare", "runs/base", "runs/seed", "--json", cwd=tmp_path).stdout)
    assert not other["batches"]["same"]
    assert other["batches"]["why"].endswith("data.shuffle_seed is 0 and 7")

    with contextlib.chdir(tmp_path):
        base, lower = chomp.Run("runs/base"), chomp.Run("runs/lower")
        assert (base.notes, lower.notes) == (Notes("first", "", ("smoke",)), Notes("", "x", ("smoke", "lr")))
        assert (lower.forked_at, lower.rows["step"][0], lower.rows["step"][-1]) == (20, 1, 60)
        assert np.array_equal(base.rows["loss"][:20], lower.rows["loss"][:20])
        assert lower.rows["loss"][20] == base.rows["loss"][20], "the same parameters on the same batch"
        assert lower.rows["loss"][22] != base.rows["loss"][22]
        assert base.evaluations["step"].tolist() == [20, 40, 60]
        assert base.to_arrow("checkpoints")["step"].to_pylist() == [20, 40, 60]
        assert base.to_arrow("rows").num_rows == 60
        kept = {f"params/{name}": array for name, array in base.parameters(40).items()}
        saved = {name: array for name, array in saved_arrays(base.path.absolute(), 40).items() if name in kept}
        assert kept.keys() == saved.keys()
        assert all(np.array_equal(kept[name], saved[name]) for name in kept)
        with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 \(it has: 20, 40, 60\)"):
            base.parameters(7)

        example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert example
        exec(example[1], {})
        assert "<Run base: completed, step 60> 0.003 ('smoke',)" in capsys.readouterr().out
