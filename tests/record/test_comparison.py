"""Two runs on the same batches: when the record shows that, and how far apart they are."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chomp.cli.compare import command
from chomp.config import derive, derived_section, parse_config
from chomp.errors import RunDirError
from chomp.record.codec import json_line
from chomp.record.comparison import binned_losses, common_edges, compare
from chomp.record.events import Compiled, Evaluated, RolledBack, SetEvaluated, TaskEvaluated
from chomp.record.fork import fork_run
from chomp.record.run_record import load_record
from chomp.record.rundir import RunDir
from chomp.record.step_noise import LEAST_VALUES, mean_of, t_quantile
from tests import fakeruns
from tests.fakeruns import T0, append, make_checkpoint

TEXT = fakeruns.TEXT


def make_run(path: Path, text: str = TEXT, *, shift: float = 0.0, steps: int = 200, start: int = 0) -> RunDir:
    """A run whose losses are those of its batches, its own noise, and `shift`; with a checkpoint at step 100."""
    run = RunDir(path)
    path.mkdir(parents=True, exist_ok=True)
    # The same in all runs: what depends on the batch.
    batches = np.random.default_rng(7).normal(0, 0.3, 1000)
    own = np.random.default_rng([ord(letter) for letter in path.name]).normal(0, 0.01, 1000)
    told = [fakeruns.started(start or None, total_steps=200), Compiled(1.0, False, flops_per_token=1e6)]
    rows = [
        fakeruns.row(step, loss=round(3 - step / 200 + batches[step] + own[step] + shift, 5))
        for step in range(start + 1, steps + 1)
    ]
    scored = [
        Evaluated(step=step, loss=3 - step / 200 + shift, perplexity=1.0, bpb=1.0 + shift, tokens=1, seconds=1.0)
        for step in range(max(50, start + 50), steps + 1, 50)
    ]
    append(run, *(row for row in told), t=T0)
    append(run, *rows, *scored)
    write_settings(run, text)
    if not start:
        run.config_original.write_text(text)
        make_checkpoint(run, 100, text=text)
    return run


def write_settings(run: RunDir, text: str) -> None:
    config = parse_config(text, source="t").config
    run.config_resolved.write_text(json.dumps({**config.model_dump(), "derived": derived_section(derive(config))}))


def test_the_band_holds_for_dependent_values() -> None:
    """An interval of 95 % contains the true mean about that often, where the usual one misses every third time."""
    rng = np.random.default_rng(1)
    count, length = 400, 400
    values = np.zeros((count, length))
    for step in range(1, length):
        values[:, step] = 0.6 * values[:, step - 1] + rng.normal(size=count)
    found = [mean_of(row) for row in values]
    covered = np.mean([abs(one.value) <= one.half_width for one in found if one is not None])
    usual = np.mean(np.abs(values.mean(1)) <= 1.96 * values.std(1) / length**0.5)
    assert covered > 0.9
    assert usual < 0.75
    assert mean_of(np.zeros(LEAST_VALUES - 1)) is None
    # Tables of Student's t.
    assert [t_quantile(freedom) for freedom in (4, 9, 30)] == pytest.approx([2.776, 2.262, 2.042], rel=0.004)


def test_a_fork_against_its_parent(tmp_path: Path) -> None:
    parent = make_run(tmp_path / "parent")
    fork = fork_run(parent, 100, tmp_path / "fork")
    make_run(fork.path, shift=-0.02, start=100)
    found = compare([load_record(parent.path), load_record(fork.path)])
    assert found.batches is not None
    assert found.batches.holds
    assert found.batches.after == 100
    assert "after step 100, where one was forked from the other" in found.batches.why
    paired = found.paired
    assert paired is not None
    assert paired.newest is not None
    assert (paired.steps[0], paired.steps[-1], len(paired.steps)) == (101, 200, 100)
    # The batches' noise is thirty times as large as the difference, and cancels.
    assert paired.newest.mean.value == pytest.approx(-0.02, abs=0.006)
    assert paired.newest.mean.half_width < 0.01
    assert paired.verdict.startswith("fork is lower than parent, beyond the noise of the steps: -0.0")
    assert [(window.first, window.last) for window in paired.windows] == [
        (101, 125),
        (126, 150),
        (151, 175),
        (176, 200),
    ]
    results = {one.name: one for one in found.results}
    assert results["best eval loss"].best == 1
    assert results["best eval loss"].texts == ("2.0000", "1.9800")
    # Where the parent is not at its old path, but moved together with the fork.
    shutil.move(tmp_path / "parent", tmp_path / "moved" / "parent")
    shutil.move(tmp_path / "fork", tmp_path / "moved" / "fork")
    moved = compare([load_record(tmp_path / "moved" / "parent"), load_record(tmp_path / "moved" / "fork")])
    assert moved.batches == found.batches


def test_no_difference_is_said(tmp_path: Path) -> None:
    texts = [f"{TEXT}checkpoint: {{max_to_keep: {number}}}\n" for number in (3, 4)]
    runs = [make_run(tmp_path / name, text) for name, text in zip(("a", "bb"), texts, strict=True)]
    found = compare([load_record(run.path) for run in runs])
    assert found.batches is not None
    assert found.batches.why == "same batches: the same text by its fingerprint, order and batch size"
    assert found.paired is not None
    assert found.paired.verdict.startswith("no difference beyond the noise of the steps: bb − a = ")
    assert [one.path for one in found.differences] == ["checkpoint.max_to_keep"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("train: {steps: 200, seq_len: 64}", "train.seq_len is 32 and 64"),
        ("train: {steps: 200, seq_len: 32, batch_size: 4}", "train.batch_size is"),
        ("train: {steps: 200, seq_len: 32, seed: 9}", "data.shuffle_seed is"),
        ("data: {packing_mode: sequential}", "data.packing_mode is bin and sequential"),
    ],
)
def test_other_batches_are_not_paired(tmp_path: Path, extra: str, says: str) -> None:
    head = extra.split(":")[0]
    text = "\n".join([*(line for line in TEXT.splitlines() if not line.startswith(head)), extra])
    first, second = make_run(tmp_path / "a", steps=60), make_run(tmp_path / "b", text, steps=60)
    found = compare([load_record(first.path), load_record(second.path)])
    assert found.paired is None
    assert found.batches is not None
    assert found.batches.why.startswith("they read different batches: ")
    assert says in found.batches.why


def test_two_seeds_with_one_order(tmp_path: Path) -> None:
    """The seed of the parameters alone does not change the batches."""
    texts = [f"{TEXT.replace('seq_len: 32', f'seq_len: 32, seed: {seed}')}data: {{shuffle_seed: 5}}" for seed in (1, 2)]
    first, second = (make_run(tmp_path / str(place), text, steps=60) for place, text in enumerate(texts))
    found = compare([load_record(first.path), load_record(second.path)])
    assert found.batches is not None
    assert found.batches.holds
    assert [one.path for one in found.differences] == ["train.seed"]


def test_sets_and_tasks_are_among_the_results(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, steps=60) for name in ("a", "b", "c")]
    for place, run in enumerate(runs[:2]):
        append(run, SetEvaluated("wiki", 50, 2.5 - place / 4, 7.4, 1.0, 5, 1.0), t=T0 + 70)
        append(run, TaskEvaluated("arc", 60, 0.25 + place / 4, None, 1.5, 0.0, 8, 0, 1.0), t=T0 + 80)
    results = {one.name: (one.texts, one.best) for one in compare([load_record(run.path) for run in runs]).results}
    assert results["wiki: loss"] == (("2.5000", "2.2500", "–"), 1)
    assert results["arc: accuracy"] == (("25.0%", "50.0%", "–"), 1), "the greatest is the best"
    assert results["arc: bits per byte"] == (("1.5000", "1.5000", "–"), None)
    assert not [name for name in results if "ema" in name]
    assert "arc: accuracy by length" not in results
    said = CliRunner().invoke(command, [str(run.path) for run in runs]).output
    assert "wiki: loss" in said
    assert "50.0%" in said


def test_scores_of_the_moving_average_have_their_own_rows(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    append(runs[0], SetEvaluated("wiki", 60, 2.5, 12.0, 1.0, 9, 1.0), t=T0 + 80)
    for run, shift in zip(runs, (0.0, 0.125), strict=True):
        append(
            run,
            Evaluated(step=200, loss=2.5, perplexity=12.0, bpb=1.5, tokens=9, seconds=1.0, ema_loss=2.25 - shift,
                      ema_bpb=1.25),
            SetEvaluated("wiki", 70, 2.5, 12.0, 1.5, 9, 1.0, ema_loss=2.25 + shift, ema_bpb=math.nan),
            TaskEvaluated("arc", 70, 0.25, 0.5, 1.5, 0.0, 8, 0, 1.0, ema_accuracy=0.5 + shift, ema_accuracy_norm=0.75,
                          ema_bpb=1.25, ema_centered=0.5),
            t=T0 + 90,
        )  # fmt: skip
    results = {one.name: (one.texts, one.best) for one in compare([load_record(run.path) for run in runs]).results}
    averages = {name: values for name, values in results.items() if "ema" in name}
    assert averages == {
        "best eval loss of ema": (("2.2500", "2.1250"), 1),
        "bits per byte of ema": (("1.2500", "1.2500"), None),
        "last eval loss of ema": (("2.2500", "2.1250"), 1),
        "wiki of ema: loss": (("2.2500", "2.3750"), 0),
        "arc of ema: accuracy": (("50.0%", "62.5%"), 1),
        "arc of ema: accuracy by length": (("75.0%", "75.0%"), None),
        "arc of ema: bits per byte": (("1.2500", "1.2500"), None),
    }
    names = [name for name in results if name.startswith("wiki")]
    assert names == ["wiki: loss", "wiki: bits per byte", "wiki of ema: loss"]
    assert "wiki of ema: loss" in CliRunner().invoke(command, [str(run.path) for run in runs]).output


def test_other_text_ends_a_pair(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    going_back = RolledBack(step=80, from_step=90, lr_factor=1.0, until_step=90, in_a_row=1, count=1, message="")
    append(runs[1], going_back, t=T0 + 500)
    rows = b"".join(json_line({**fakeruns.row(step).row, "t": T0 + step + 600}) for step in range(81, 201))
    kept = runs[1].metrics.read_bytes().splitlines(keepends=True)[:80]
    runs[1].metrics.write_bytes(b"".join(kept) + rows)
    found = compare([load_record(run.path) for run in runs])
    assert found.batches is not None
    assert found.batches.until == 80
    assert found.paired is not None
    assert found.paired.steps[-1] == 80
    # Another fingerprint is other text, whatever the settings say.
    for meta in runs[1].checkpoints.glob("*/meta.json"):
        meta.write_text(meta.read_text().replace('"sha256": "f"', '"sha256": "g", "documents": 2'))
    found = compare([load_record(run.path) for run in runs])
    assert found.batches is not None
    assert found.batches.why == "they read different batches: the text is not the same"


def test_an_accepted_change_of_text_ends_a_pair(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, steps=60) for name in ("a", "b")]
    resumed = fakeruns.started(60, attempt=2)
    append(runs[1], type(resumed)(**{**vars(resumed), "accepted": ["data_fingerprint", "optim.lr"]}), t=T0 + 900)
    found = compare([load_record(run.path) for run in runs])
    assert found.batches is not None
    assert found.batches.why == "b was resumed with another data_fingerprint"


def test_x_axes(tmp_path: Path) -> None:
    parent = make_run(tmp_path / "parent")
    fork = fork_run(parent, 100, tmp_path / "fork")
    make_run(fork.path, start=100)
    records = [load_record(one.path) for one in (parent, fork)]
    steps = np.array([100, 150, 200])
    for axis, scale in (("step", 1), ("tokens", 250), ("time", 1.0), ("flops", 256e6)):
        for record in records:
            assert record.x_of(axis, steps) == pytest.approx(steps * scale), axis
    edges = common_edges(records, "tokens", 4)
    assert edges is not None
    assert edges.tolist() == [0, 12500, 25000, 37500, 50000]
    losses = [binned_losses(one, "tokens", edges) for one in records]
    assert np.isnan(losses[1]).tolist() == [True, True, False, False], "a fork has its own rows only"
    rows = records[0].own_rows
    assert losses[0][0] == pytest.approx(float(rows["loss"][:50].mean()))


def test_the_command(tmp_path: Path) -> None:
    parent = make_run(tmp_path / "parent")
    fork = fork_run(parent, 100, tmp_path / "fork")
    make_run(fork.path, shift=-0.02, start=100)
    settings = parent.load_resolved()
    settings["optim"]["lr"] = 0.001
    fork.config_resolved.write_text(json.dumps(settings))

    def invoke(*args: Any) -> Any:
        return CliRunner().invoke(command, [str(arg) for arg in args])

    said = invoke(fork.path)
    assert said.exit_code == 0, said.output
    assert said.output == invoke(parent.path, fork.path).output
    for line in (
        "setting   parent  fork\noptim.lr  0.003   0.001",
        "best eval loss",
        "95 % band",
        "mean train loss up to",
    ):
        assert line in said.output
    found = json.loads(invoke(parent.path, fork.path, "--json", "--x", "tokens").output)
    assert found["differences"] == [{"setting": "optim.lr", "values": [0.003, 0.001]}]
    assert (found["batches"]["same"], found["batches"]["after_step"], found["paired"]["rows"]) == (True, 100, 100)
    assert found["curves"]["x"] == "tokens"
    assert found["curves"]["loss"][1][0] is None
    three = json.loads(invoke(parent.path, fork.path, parent.path, "--json").output)
    assert (three["batches"], three["paired"], len(three["runs"])) == (None, None, 3)
    alone = invoke(parent.path)
    assert alone.exit_code == 2
    assert "parent has no parent to compare with; name two runs or more" in alone.output


def test_the_command_names_runs_that_cannot_be_read_and_compares_the_others(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b", "c")]
    runs[1].metrics.unlink()
    runs[1].metrics.mkdir()
    places = [str(run.path) for run in runs]
    said = CliRunner().invoke(command, places)
    assert said.exit_code == 0, said.stderr
    assert said.stdout == CliRunner().invoke(command, [places[0], places[2]]).stdout
    assert said.stderr == f"b is left out: {runs[1].metrics} cannot be read: Is a directory\n"
    found = json.loads(CliRunner().invoke(command, [*places, "--json"]).stdout)
    assert [one["name"] for one in found["runs"]] == ["a", "c"]
    assert found["left_out"] == [{"run": places[1], "why": f"{runs[1].metrics} cannot be read: Is a directory"}]
    # One alone is shown, and is no comparison.
    said = CliRunner().invoke(command, [places[0], str(tmp_path / "gone")])
    assert said.exit_code == RunDirError.exit_code
    assert "last train loss" in said.stdout
    assert said.stderr == f"gone is left out: there is no run directory at {tmp_path / 'gone'}\n"
    # None at all.
    said = CliRunner().invoke(command, [places[1], str(tmp_path / "gone")])
    assert isinstance(said.exception, RunDirError)
    assert said.stdout == ""
