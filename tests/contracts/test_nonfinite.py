"""Losses that are not finite: nothing saved is ever poisoned, and a run can be continued from where it was sane."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.checkpoint.retention import Retention
from chomp.checkpoint.store import CheckpointStore
from chomp.record.events import Checkpoint, NonFinite, RunEnded, RunStarted
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import assert_same_run, dummy_config, events_of, rows, saved_arrays, saved_position
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile

# Large enough to overflow fp32 within two updates.
WILD = ("-o", "optim.lr=1e30", "--accept", "optim.lr")


def settings(references: References) -> dict[str, Any]:
    return dummy_config(references.corpus, optim={"decay_steps": 18}, checkpoint={"save_every": 10})


@pytest.fixture
def whole(references: References) -> Path:
    """A finished run of 20 steps."""
    return references.run(run, settings(references))


@pytest.fixture
def half(references: References, tmp_path: Path) -> Path:
    """The same run, stopped after 10 steps."""
    return references.copy(tmp_path / "run", run, settings(references), "-o", "train.steps=10")


def all_finite(run_dir: Path) -> bool:
    return all(
        np.isfinite(array).all()
        for info in list_checkpoints(run_dir / "checkpoints")
        for array in saved_arrays(run_dir, info.step).values()
    )


def test_halt_saves_the_state_before_the_bad_step_and_a_resume_with_another_rate_goes_on(
    half: Path, whole: Path, tmp_path: Path
) -> None:
    same_steps = Path(shutil.copytree(half, tmp_path / "same"))
    wild = run("train", "--run-dir", half, "--resume", "latest", "-o", "train.steps=20", *WILD)
    assert wild.returncode == 6, wild.stdout
    ended = events_of(half, RunEnded)[-1]
    assert (ended.status, ended.exit_code) == ("crashed", 6)
    bad = ended.step + 1
    assert ended.reason.startswith(
        f"step {bad}: the loss is nan and the gradient norm nan; the parameters are those of step {bad - 1}. "
    )
    assert "-o optim.lr=… --accept optim.lr" in ended.reason
    assert "-o debug.nonfinite=skip" in ended.reason
    assert wild.stderr == f"error: at step {bad - 1}: {ended.reason}\n"
    assert f"step {bad}: loss non-finite, gradient norm non-finite; the update was not applied (halt)" in wild.stdout
    (told,) = events_of(half, NonFinite)
    assert (told.step, told.loss, told.grad_norm, told.skipped, told.action) == (bad, None, None, 1, "halt")
    assert rows(half)[-1]["step"] == bad - 1, "a refused step has no row"
    assert [info.step for info in list_checkpoints(half / "checkpoints")] == [10, bad - 1]
    assert all_finite(half)
    again = run("train", "--run-dir", same_steps, "--resume", "latest", "-o", f"train.steps={bad - 1}", *WILD)
    assert again.returncode == 0, again.stderr
    left, right = saved_arrays(half, bad - 1), saved_arrays(same_steps, bad - 1)
    assert {name for name in left if left[name].tobytes() != right[name].tobytes()} == {"state/skipped"}
    assert saved_position(half, bad - 1) == saved_position(same_steps, bad - 1)

    back = run("train", "--run-dir", half, "--resume", 10, "-o", "optim.lr=0.003", "--accept", "optim.lr")
    assert back.returncode == 0, back.stderr
    assert_same_run(whole, half, 20)


def test_resume_after_a_halt_needs_the_change_to_be_accepted_and_records_it(half: Path) -> None:
    wild = run("train", "--run-dir", half, "--resume", "latest", "-o", "train.steps=20", *WILD)
    assert wild.returncode == 6
    refused = run("train", "--run-dir", half, "--resume", "latest", "-o", "optim.lr=1e-5")
    assert refused.returncode == 5
    assert "needs --accept optim.lr" in refused.stderr
    halted = list_checkpoints(half / "checkpoints")[-1].step
    taken = run("train", "--run-dir", half, "--resume", "latest", "-o", "optim.lr=1e-5", "--accept", "optim.lr")
    assert f"resumed from step {halted}" in taken.stdout
    assert "warning: accepted: optim.lr was 1e+30, is now 1e-05" in taken.stdout
    started = events_of(half, RunStarted)[-1]
    assert started.accepted == ["optim.lr"]
    assert all_finite(half)


def test_skip_goes_on_and_counts(half: Path) -> None:
    options = ("-o", "train.steps=20", "-o", "debug.nonfinite=skip", "-o", "debug.max_consecutive_nonfinite=50", *WILD)
    done = run("train", "--run-dir", half, "--resume", "latest", *options)
    assert done.returncode == 0, done.stderr
    told = list(events_of(half, NonFinite))
    first = told[0].step
    assert [event.step for event in told] == list(range(first, 21))
    assert [event.skipped for event in told] == list(range(1, 22 - first))
    assert {event.action for event in told} == {"skip"}
    arrays = saved_arrays(half, 20)
    assert int(arrays["state/step"]) == 20
    assert int(arrays["state/skipped"]) == int(arrays["state/skipped_in_a_row"]) == 21 - first
    assert int(arrays["state/updates"]) == first - 1
    assert all_finite(half)
    assert [row["step"] for row in rows(half)] == list(range(1, 21))
    assert [row["loss"] for row in rows(half)][first - 1 :] == [None] * (21 - first), "NaN is null in JSON"
    assert "NaN" not in (half / "metrics.jsonl").read_text() + (half / "events.jsonl").read_text()
    assert "loss non-finite  grad non-finite" in done.stdout


def test_too_many_skips_in_a_row_end_the_run_with_an_exact_state(half: Path) -> None:
    options = ("-o", "train.steps=20", "-o", "debug.nonfinite=skip", "-o", "debug.max_consecutive_nonfinite=3", *WILD)
    done = run("train", "--run-dir", half, "--resume", "latest", *options)
    assert done.returncode == 6, done.stdout
    assert "3 steps in a row were skipped (debug.max_consecutive_nonfinite)" in done.stderr
    newest = list_checkpoints(half / "checkpoints")[-1]
    assert verify(newest.path) == []
    arrays = saved_arrays(half, newest.step)
    assert int(arrays["state/step"]) == newest.step == rows(half)[-1]["step"], "state, name and rows are of one step"
    assert int(arrays["state/skipped_in_a_row"]) >= 3
    assert all_finite(half)
    position = saved_position(half, newest.step)
    longer = ("-o", f"train.steps={newest.step}", "-o", "debug.max_consecutive_nonfinite=50")
    control = run("train", "--run-dir", half, "--resume", 10, *options[2:], *longer)
    assert control.returncode == 0, control.stderr
    assert saved_position(half, newest.step) == position
    again = saved_arrays(half, newest.step)
    assert {name for name in arrays if arrays[name].tobytes() != again[name].tobytes()} == set()


def test_a_state_saved_between_skips_moves_again_under_halt(half: Path, whole: Path) -> None:
    """Such a state is latched; resumed under the policy that halts, it must not refuse finite steps."""
    (info,) = list_checkpoints(half / "checkpoints")
    items: dict[str, dict[str, np.ndarray]] = {}
    for name, array in saved_arrays(half, 10).items():
        item, _, leaf = name.partition("/")
        items.setdefault(item, {})[leaf] = array
    items["state"]["skipped_in_a_row"] = np.asarray(2, np.int32)
    position = saved_position(half, 10)
    shutil.rmtree(info.path)
    store = CheckpointStore(half / "checkpoints", retention=Retention(1), on_event=lambda event: None)
    store.save(10, items, position, info.meta, wait=True)
    assert int(saved_arrays(half, 10)["state/skipped_in_a_row"]) == 2
    done = run("train", "--run-dir", half, "--resume", "latest", "-o", "train.steps=20")
    assert done.returncode == 0, done.stderr
    assert_same_run(whole, half, 20)


def test_rows_of_a_skipping_run_are_json_that_others_can_read(half: Path) -> None:
    options = ("-o", "train.steps=20", "-o", "debug.nonfinite=skip", *WILD)
    run("train", "--run-dir", half, "--resume", "latest", *options)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for name in ("metrics.jsonl", "events.jsonl"):
        for line in (half / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)
    assert any(row["loss"] is None for row in rows(half))
    assert not [e for e in events_of(half, Checkpoint) if e.state == "failed"]
