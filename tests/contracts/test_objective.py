"""A run whose objective has every term: its rows, its resume, and what is left of its extra heads elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from safetensors.numpy import load_file

from chomp.record.event_log import read_events
from chomp.record.fold import fold
from chomp.record.manifest import list_checkpoints
from chomp.record.run_view import RunView
from chomp_tui.screens.run.charts import terms_of
from tests.engine import assert_same_run, dummy_config, rows, saved_arrays, steps_of
from tests.export.test_export import LLAMA
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile

OBJECTIVE = {"label_smoothing": 0.1, "z_loss": 1e-3, "token_filter_keep": 0.5, "mtp_heads": 2}
TERMS = ("smoothed_loss", "filtered_loss", "z_loss", "mtp_loss_1", "mtp_loss_2")
SMALL = {**LLAMA, "num_layers": 1}


@pytest.fixture
def finished(references: References) -> Path:
    """A Llama's run of 6 steps, saved at 3 and 6."""
    config = dummy_config(
        references.corpus,
        model=SMALL,
        objective=OBJECTIVE,
        optim={"name": "muon"},
        train={"steps": 6, "grad_accum": 2, "eval_every": 6},
        checkpoint={"save_every": 3},
    )
    return references.run(run, config)


def heads(run_dir: Path, step: int) -> dict[str, np.ndarray]:
    info = next(info for info in list_checkpoints(run_dir / "checkpoints") if info.step == step)
    tree: dict[str, Any] = ocp.load_checkpointables(info.path, {"mtp": None})["mtp"]
    return {name: np.asarray(value) for name, value in tree.items()}


def test_every_row_has_every_term_beside_the_plain_loss(finished: Path) -> None:
    for row in rows(finished):
        assert list(row)[1:2] == ["loss"]
        assert set(TERMS) <= row.keys()
        assert row["filtered_loss"] > row["smoothed_loss"], "the half of highest loss has more of it than all"
    assert rows(finished)[-1]["eval_loss"] > 0


def test_the_console_reads_every_term(finished: Path) -> None:
    view = fold(RunView(), [*read_events(finished / "events.jsonl"), *steps_of(finished)])
    assert sorted(terms_of(view)) == sorted(TERMS)
    for name in TERMS:
        np.testing.assert_allclose(view.rows[name], [row[name] for row in rows(finished)], rtol=1e-6)


def test_a_resume_goes_on_bit_for_bit_with_heads(finished: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(finished, tmp_path / "run"))
    resumed = run("train", "--run-dir", again, "--resume", 3)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(finished, again, 6)
    for one, other in zip(rows(finished), rows(again), strict=True):
        assert {name: one[name] for name in TERMS} == {name: other[name] for name in TERMS}
    before, after, repeated = heads(finished, 3), heads(finished, 6), heads(again, 6)
    assert set(before) == {"0.transform.weight", "1.transform.weight"}
    for name, value in after.items():
        assert value.tobytes() == repeated[name].tobytes() != before[name].tobytes()


def test_evaluation_and_exports_take_the_trunk(finished: Path, tmp_path: Path) -> None:
    saved = {name.removeprefix("params/"): value for name, value in saved_arrays(finished, 6).items()}
    assert not [name for name in saved if name.startswith(("mtp", "trunk"))], "named as without heads"
    scored = run("eval", finished, "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["loss"] == rows(finished)[-1]["eval_loss"]
    exported = run("export", finished, "--to", "hf", "--output", tmp_path / "hf")
    assert exported.returncode == 0, exported.stderr
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], saved["embed.weight"])
    assert not [name for name in tensors if "transform" in name]
    written = run("generate", finished, "--prompt", "def ", "--max-tokens", 4)
    assert written.returncode == 0, written.stderr


def test_terms_are_judged_and_heads_are_fixed(finished: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(finished, tmp_path / "run"))
    changed = ("-o", "objective.mtp_heads=1", "-o", "objective.z_loss=0")
    refused = run("train", "--run-dir", again, "--resume", "latest", *changed)
    assert refused.returncode == 5
    table = refused.stderr.splitlines()[2:]
    assert [line.split()[0] for line in table] == ["objective.mtp_heads", "objective.z_loss"]
    assert "cannot change: it changes the shapes" in table[0]
    assert "needs --accept objective.z_loss" in table[1]
