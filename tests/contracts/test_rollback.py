"""A step that is not finite under the policy that goes back: past the bad text, slower for a while, and exact."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from chomp.record.commands import Command, send_command
from chomp.record.events import Checkpoint, Event, NonFinite, RolledBack, RunEnded, RunStarted, Step, Warned
from chomp.record.manifest import list_checkpoints
from tests.engine import (
    Engine,
    assert_same_run,
    at_step,
    events_of,
    rows,
    run,
    saved_arrays,
    saved_position,
    slow_dummy_config,
    tiny_config,
    while_saving,
    write_config,
    write_corpus,
)
from tests.in_process import run as run_here
from tests.poisoned import POISON, poisoned_models
from tests.references import References

pytestmark = pytest.mark.process

STEPS, SAVE_EVERY, BEYOND, FACTOR = 60, 10, 12, 0.25
SEQUENTIAL: dict[str, Any] = {"packing_mode": "sequential", "shuffle": False}
BIN: dict[str, Any] = {"packing_mode": "bin", "packing_buffer_docs": 7, "shuffle": True}


class Variant(NamedTuple):
    """A model and its text.

    Attributes:
        poisoned: numbers of the bad documents, read after some 27 and 40 batches.
        kills: which of the instants of a kill it meets; a start of the Megalodon takes longest.
    """

    build: Callable[..., dict[str, Any]]
    data: dict[str, Any]
    batch: dict[str, int]
    poisoned: tuple[int, int]
    kills: tuple[int, ...] = (0, 1, 2, 3, 4)


WIDE, NARROW = {"batch_size": 8, "seq_len": 128, "grad_accum": 2}, {"batch_size": 4, "seq_len": 64, "grad_accum": 2}
VARIANTS = {
    "sequential": Variant(slow_dummy_config, SEQUENTIAL, WIDE, (240, 360)),
    "bin": Variant(slow_dummy_config, BIN, WIDE, (520, 487)),
    # Positions do not depend on the model: one packing does for it.
    "megalodon": Variant(tiny_config, SEQUENTIAL, NARROW, (60, 90), kills=(4,)),
}


def poison(corpus: Path, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        (corpus / f"{number:03d}.txt").write_text(f"def {POISON} class return\n")


def poisoned(*args: object) -> subprocess.CompletedProcess[str]:
    return run(*args, module="tests.poisoned")


def told(run_dir: Path) -> list[RolledBack]:
    return list(events_of(run_dir, RolledBack))


@pytest.fixture
def configs(references: References) -> Path:
    """Configurations over a text that is read less than once, and over the same text without its bad documents."""
    return references.folder("rollback", write_configs)


def write_configs(folder: Path) -> None:
    for variant, (build, data, batch, numbers, _) in VARIANTS.items():
        for name, bad in (("clean", ()), ("bad", numbers)):
            corpus = write_corpus(folder / f"{name}-{variant}", documents=900)
            poison(corpus, bad)
            config = build(
                corpus,
                data=data,
                train={"steps": STEPS, **batch},
                optim={"decay_steps": STEPS - 2},
                checkpoint={"save_every": SAVE_EVERY},
                debug={"nonfinite": "rollback", "rollback_lr_factor": FACTOR, "rollback_steps": BEYOND},
            )
            write_config(folder / f"{name}-{variant}.yaml", config)


@pytest.fixture
def uninterrupted(configs: Path, references: References) -> Callable[[str], Path]:
    """From a configuration's name to its run that nothing interrupted."""
    return lambda name: references.run(poisoned, yaml.safe_load((configs / f"{name}.yaml").read_text()))


def test_the_text_goes_on_behind_the_bad_batch_and_the_rate_is_lower_for_a_while(
    uninterrupted: Callable[[str], Path],
) -> None:
    bad, clean = uninterrupted("bad-sequential"), uninterrupted("clean-sequential")
    assert told(clean) == []
    first, *later = told(bad)
    assert later, "there were two bad documents"
    assert first.step == (first.from_step - 1) // SAVE_EVERY * SAVE_EVERY
    assert (first.in_a_row, first.count, first.lr_factor) == (1, 1, FACTOR)
    assert first.until_step == first.from_step + BEYOND
    assert VARIANTS["sequential"].poisoned[0] in first.documents
    assert VARIANTS["sequential"].poisoned[1] in later[0].documents
    assert first.message == (
        f"step {first.from_step}: the loss is nan and the gradient norm nan; went back to the checkpoint of step "
        f"{first.step} and continued with the next text, the learning rate times 0.25 until step {first.until_step} "
        "(rollback 1 in a row)"
    )
    assert [row["step"] for row in rows(bad)] == list(range(1, STEPS + 1))
    rates = [here["lr"] / there["lr"] for here, there in zip(rows(bad), rows(clean), strict=True)]
    last = later[-1].until_step
    assert rates[: first.step] == [1.0] * first.step
    np.testing.assert_allclose(rates[first.step : last], FACTOR, rtol=1e-6)
    assert rates[last:] == [1.0] * (STEPS - last)


def test_no_batch_is_lost_but_the_bad_one(configs: Path, uninterrupted: Callable[[str], Path], tmp_path: Path) -> None:
    """Positions are functions of the batches read, so that a longer run over good text must stand at the same one."""
    bad = uninterrupted("bad-sequential")
    behind = sum(event.from_step - event.step for event in told(bad))
    corpus = write_corpus(tmp_path / "corpus", documents=900)
    for number in VARIANTS["sequential"].poisoned:
        # As long as the bad ones, so that all batches are cut at the same places.
        (corpus / f"{number:03d}.txt").write_text("def + class return\n")
    options = ("-o", f'data.files=["{corpus}/*.txt"]', "-o", f"train.steps={STEPS + behind}")
    done = run_here("train", configs / "clean-sequential.yaml", "--run-dir", tmp_path / "longer", *options)
    assert done.returncode == 0, done.stderr
    assert saved_position(bad, STEPS) == saved_position(tmp_path / "longer", STEPS + behind)


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_around_a_rollback_and_resumed(
    variant: str, configs: Path, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    reference = uninterrupted(f"bad-{variant}")
    assert np.isfinite([row["loss"] for row in rows(reference)]).all()
    assert [event.topic for event in events_of(reference, Warned)] == [], "nothing recompiled"
    first, *later = told(reference)
    assert later, "there were two bad documents"
    next_save = first.step + SAVE_EVERY
    assert next_save < first.until_step, "the checkpoint after the rollback carries the lower rate"
    run_dir = tmp_path / "killed"

    def kill_at(*instants: Callable[[Event], bool], fresh: bool = False) -> None:
        resume = () if fresh else ("--resume", "latest")
        options = ("train", configs / f"bad-{variant}.yaml", "--run-dir", run_dir, *resume)
        engine = Engine(run_dir, *options, module="tests.poisoned")
        for instant in instants:
            assert engine.wait_for(instant) is not None, engine.text()
        engine.signal(signal.SIGKILL)
        assert engine.finish() == -signal.SIGKILL

    def is_bad(event: Event) -> bool:
        return isinstance(event, NonFinite)

    def is_back(event: Event) -> bool:
        return isinstance(event, RolledBack)

    def is_saved(event: Event) -> bool:
        return isinstance(event, Checkpoint) and event.state == "committed" and event.step == next_save

    kills = [(is_bad,), (is_back,), (is_back, at_step(first.step + 2)), (is_back, while_saving(0)), (is_back, is_saved)]
    for number, kill in enumerate(VARIANTS[variant].kills):
        kill_at(*kills[kill], fresh=number == 0)
    done = poisoned("train", configs / f"bad-{variant}.yaml", "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr + done.stdout
    started = events_of(run_dir, RunStarted)[-1]
    assert started.resumed_from is not None
    assert started.resumed_from >= next_save
    assert_same_run(reference, run_dir, STEPS)


def test_without_a_checkpoint_the_run_begins_again_with_the_next_text(configs: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=900)
    poison(corpus, (45,))
    options = ("-o", f'data.files=["{corpus}/*.txt"]', "-o", "train.steps=12", "-o", "checkpoint.save_every=0")
    with poisoned_models():
        done = run_here("train", configs / "bad-sequential.yaml", "--run-dir", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    (back,) = told(tmp_path / "run")
    assert back.step == 0
    assert 3 <= back.from_step <= 12
    assert "went back to the start and continued with the next text" in back.message
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, 13))
    arrays = saved_arrays(tmp_path / "run", 12)
    assert int(arrays["state/step"]) == int(arrays["state/updates"]) == 12
    assert int(arrays["state/skipped"]) == 0


def test_a_damaged_checkpoint_is_passed_over_and_text_that_stays_bad_ends_the_run(
    configs: Path, tmp_path: Path
) -> None:
    # A few hundred steps of good text, and behind it only bad text.
    texts = ["def good(): return a, class\n" * 80] * 300 + [f"def {POISON} class return\n" * 20] * 600
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run_dir = tmp_path / "run"
    settings = (f"data.files={tmp_path}/text.jsonl", "data.shuffle=false", "train.eval_every=0", "train.steps=1000000")
    settings += ("checkpoint.save_every=0", "debug.max_consecutive_rollbacks=2")
    options = [word for setting in settings for word in ("-o", setting)]
    arguments = ("train", configs / "bad-sequential.yaml", "--run-dir", run_dir, *options)
    engine = Engine(run_dir, *arguments, module="tests.poisoned")

    def ask(*commands: str) -> None:
        for command in commands:
            send_command(run_dir / "commands.jsonl", Command(command))

    saved = 0
    for _ in range(2):
        assert engine.wait_for(lambda event, at=saved: isinstance(event, Step) and event.row["step"] > at) is not None
        # Paused at once, so that nothing is saved before the newest checkpoint is damaged.
        ask("pause", "save")
        committed = engine.wait_for(lambda event: isinstance(event, Checkpoint) and event.state == "committed")
        assert isinstance(committed, Checkpoint), engine.text()
        saved = committed.step
        if len(list_checkpoints(run_dir / "checkpoints")) == 1:
            ask("resume")
    good, newest = list_checkpoints(run_dir / "checkpoints")
    with (newest.path / "meta.json").open("a") as file:
        file.write("x")
    ask("resume")
    assert engine.finish() == 6, engine.text()
    refused = [e for e in events_of(run_dir, Checkpoint) if e.state == "refused"]
    assert [event.step for event in refused] == [newest.step]
    assert (run_dir / "checkpoints" / "set-aside" / "before-rollback" / str(newest.step)).is_dir()
    assert [(event.step, event.in_a_row) for event in told(run_dir)] == [(good.step, 1), (good.step, 2)]
    ended = events_of(run_dir, RunEnded)[-1]
    assert ended.step == good.step
    assert ended.reason == (
        f"step {good.step + 1}: the loss is nan and the gradient norm nan; going back 2 times in a row did not help "
        f"(debug.max_consecutive_rollbacks); the parameters are those of step {good.step}. Resume from an earlier "
        "checkpoint with a lower learning rate (-o optim.lr=… --accept optim.lr)"
    )
    assert "Traceback" not in engine.text()
