"""Spikes are refused alike on every mesh, and a run that is killed around one and resumed is the uninterrupted run."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.notify.spike import WINDOW
from chomp.record.events import Event, RolledBack, Spike
from tests.engine import (
    Engine,
    assert_same_run,
    at_step,
    dummy_config,
    events_of,
    exact_rows,
    rows,
    run,
    saved_arrays,
    saved_position,
    write_config,
    write_corpus,
)
from tests.parallel.group import Group
from tests.poisoned import POISON
from tests.references import References

pytestmark = pytest.mark.process

STEPS, SAVE_EVERY = 110, 35
# Documents that are read between step 70 and the end.
BAD = (20, 24)
MESHES = {"one": ("--devices", "0"), "data": (), "fsdp": ("-o", "parallel.fsdp=4")}
POISONED, KILLED = "tests.parallel.four_poisoned", "tests.parallel.killed_rolling_back"


def configured(folder: Path, policy: str) -> Path:
    path = folder / f"{policy}.yaml"
    config = dummy_config(
        folder / "corpus",
        # Wide enough that its matrices are cut.
        model={"model_dim": 64},
        data={"packing_mode": "sequential", "shuffle": False},
        train={"steps": STEPS, "batch_size": 1, "seq_len": 16, "grad_accum": 4},
        checkpoint={"save_every": SAVE_EVERY, "max_to_keep": 20},
        debug={"spikes": policy, "rollback_lr_factor": 0.5},
    )
    return write_config(path, config)


def filled(folder: Path) -> None:
    corpus = write_corpus(folder / "corpus", documents=90)
    for number in BAD:
        (corpus / f"{number:03d}.txt").write_text(f"def {POISON} class return\n")
    for policy in ("warn", "skip", "rollback"):
        configured(folder, policy)


@pytest.fixture
def texts(references: References) -> Path:
    """The folder with the configurations, by policy."""
    return references.folder("spikes-texts", filled)


@pytest.fixture
def trained(texts: Path, references: References) -> Callable[[str, str], Path]:
    """From a policy and a mesh to the run that nothing interrupted."""

    def of(policy: str, mesh: str) -> Path:
        def fill(folder: Path) -> None:
            done = run("train", texts / f"{policy}.yaml", "--run-dir", folder / "run", *MESHES[mesh], module=POISONED)
            assert done.returncode == 0, done.stderr

        return references.folder(f"spikes-{policy}-{mesh}", fill) / "run"

    return of


def decisions(run_dir: Path) -> list[dict[str, Any]]:
    """What was decided, without the numbers that it was decided by."""
    spikes = [(event.t, event) for event in events_of(run_dir, Spike)]
    backs = [(event.t, event) for event in events_of(run_dir, RolledBack)]
    numbers = ("t", "loss", "grad_norm", "loss_limit", "grad_norm_limit", "message")
    return [
        {name: value for name, value in vars(event).items() if name not in numbers}
        for _, event in sorted([*spikes, *backs], key=lambda one: one[0])
    ]


def require_same_decisions(found: Path, expected: Path) -> None:
    """And the same text and losses but for the order of sums."""
    assert decisions(found) == decisions(expected)
    assert saved_position(found, STEPS) == saved_position(expected, STEPS)
    one, other = exact_rows(expected), exact_rows(found)
    for name in ("step", "tokens_seen", "lr"):
        assert [row[name] for row in other] == [row[name] for row in one]
    assert [row["loss"] for row in other] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    ours, theirs = saved_arrays(found, STEPS), saved_arrays(expected, STEPS)
    for name in ("state/updates", "state/skipped", "spikes/refused", "spikes/refused_in_a_row"):
        assert int(ours[name]) == int(theirs[name]), name


@pytest.mark.parametrize("mesh", ["fsdp", pytest.param("data", marks=pytest.mark.soak)])
@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_every_mesh_refuses_the_same_steps(policy: str, mesh: str, trained: Callable[[str, str], Path]) -> None:
    one = trained(policy, "one")
    spikes = events_of(one, Spike)
    assert len(spikes) == 2
    assert all(set(event.documents) & set(BAD) for event in spikes)
    assert [event.step for event in events_of(one, RolledBack)] == [70] * 2 * (policy == "rollback")
    require_same_decisions(trained(policy, mesh), one)


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_two_processes_refuse_the_same_steps(
    policy: str, texts: Path, trained: Callable[[str, str], Path], tmp_path: Path
) -> None:
    with Group(tmp_path / "run", texts / f"{policy}.yaml", "--devices", "0", module=POISONED) as group:
        assert group.finish() == [0, 0], group.texts()
    require_same_decisions(group.run_dir, trained(policy, "one"))


@pytest.mark.parametrize(
    ("policy", "mesh"),
    [
        ("skip", "one"),
        ("rollback", "fsdp"),
        *(pytest.param(*each, marks=pytest.mark.soak) for each in (("skip", "fsdp"), ("rollback", "one"))),
    ],
)
def test_killed_around_a_spike_and_resumed(
    policy: str, mesh: str, texts: Path, trained: Callable[[str, str], Path], tmp_path: Path
) -> None:
    whole, run_dir = trained(policy, mesh), tmp_path / "killed"
    bad = events_of(whole, Spike)[0].step

    def engine(module: str = POISONED) -> Engine:
        resume = ("--resume", "latest") if run_dir.exists() else ()
        return Engine(
            run_dir, "train", texts / f"{policy}.yaml", "--run-dir", run_dir, *MESHES[mesh], *resume, module=module
        )

    def kill(*instants: Callable[[Event], bool]) -> None:
        started = engine()
        for instant in instants:
            assert started.wait_for(instant) is not None, started.text()
        started.signal(signal.SIGKILL)
        assert started.finish() == -signal.SIGKILL

    if policy == "rollback":
        # Nothing of the rollback is known to the next attempt, which finds the same spike.
        assert engine(KILLED).finish() == -signal.SIGKILL
        assert events_of(run_dir, RolledBack) == []
        kill(lambda event: isinstance(event, RolledBack))
        kill(lambda event: isinstance(event, RolledBack), at_step(bad - 5))
    else:
        kill(lambda event: isinstance(event, Spike))
        kill(lambda event: isinstance(event, Spike), at_step(bad + 1))
    last = engine()
    assert last.finish() == 0, last.text()
    assert_same_run(whole, run_dir, STEPS)


def test_a_rollback_on_a_mesh_is_certified(trained: Callable[[str, str], Path], tmp_path: Path) -> None:
    copy = shutil.copytree(trained("rollback", "fsdp"), tmp_path / "run")
    done = run("replay", copy, "--steps", STEPS, module=POISONED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"certified: {STEPS} of {STEPS} steps computed again bit for bit" in done.stdout


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_resume_begins_to_judge_and_to_average(processes: int, texts: Path, tmp_path: Path) -> None:
    """The window and the average that the checkpoint lacks are begun where the state lies."""
    shorter = ("-o", "train.steps=20", "-o", "checkpoint.save_every=10")
    words = ("--run-dir", tmp_path / "run", *MESHES["fsdp"])
    done = run("train", texts / "warn.yaml", *shorter, *words, module=POISONED)
    assert done.returncode == 0, done.stderr
    before = saved_arrays(tmp_path / "run", 10)
    accepted = ("-o", "debug.spikes=skip", "-o", "optim.ema.decay=0.9", "--accept", "optim.ema.decay")
    if processes == 1:
        done = run("train", "--resume", 10, *accepted, *words, module=POISONED)
        assert done.returncode == 0, done.stderr
    else:
        half = ("--devices", "0,1", *MESHES["fsdp"])
        with Group(tmp_path / "run", "--resume", 10, *accepted, *half, module=POISONED) as group:
            assert group.finish() == [0, 0], group.texts()
    after = saved_arrays(tmp_path / "run", 20)
    averages = {f"ema/{name.removeprefix('params/')}" for name in before if name.startswith("params/")}
    assert after.keys() - before.keys() == averages | {
        f"spikes/{name}" for name in ("losses", "grad_norms", "refused", "refused_in_a_row")
    }
    known = np.isfinite(after["spikes/losses"])
    assert (known.size, known.sum()) == (WINDOW, 10)
    assert after["spikes/losses"][known].tolist() == [np.float32(row["loss"]) for row in rows(tmp_path / "run")[10:]]
