"""Bytes that changed after they were written: never trained on, always named, and the last good ones are found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chomp.checkpoint.restore import choose
from chomp.errors import CheckpointError
from chomp.record.events import Checkpoint, RunStarted
from chomp.record.manifest import list_checkpoints, set_tags, verify
from tests.engine import assert_same_run, events_of, rows
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


@pytest.fixture
def finished(references: References) -> Path:
    """A run of 20 steps with checkpoints 10, 15 and 20."""
    return references.run(run, references.config)


@pytest.fixture
def damaged(references: References, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return references.copy(tmp_path / "run", run, references.config)


def biggest(checkpoint: Path) -> Path:
    return max(
        (path for path in (checkpoint / "params").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_step(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"step": 20', b'"step": 30'))


NO_MANIFEST = "manifest.json is missing or damaged"
# What is done to checkpoint 20, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "array cut": (lambda folder: cut(biggest(folder)), "bytes instead of"),
    "array flipped": (lambda folder: flip(biggest(folder)), "has changed: its SHA-256 does not match"),
    "array gone": (lambda folder: biggest(folder).unlink(), "is missing"),
    "array a folder": (lambda folder: become_folder(biggest(folder)), "is missing"),
    "item gone": (lambda folder: shutil.rmtree(folder / "opt"), "is missing"),
    "position cut": (lambda folder: cut(folder / "data" / "position.json"), "data/position.json has "),
    "orbax metadata gone": (
        lambda folder: (folder / "_CHECKPOINT_METADATA").unlink(),
        "_CHECKPOINT_METADATA is missing",
    ),
    "meta cut": (lambda folder: cut(folder / "meta.json"), "meta.json has "),
    "meta flipped": (lambda folder: flip(folder / "meta.json"), "meta.json has changed"),
    "meta gone": (lambda folder: (folder / "meta.json").unlink(), "meta.json is missing"),
    "manifest cut": (lambda folder: cut(folder / "manifest.json"), NO_MANIFEST),
    "manifest empty": (lambda folder: (folder / "manifest.json").write_text(""), NO_MANIFEST),
    "manifest a list": (lambda folder: (folder / "manifest.json").write_text("[]"), NO_MANIFEST),
    "manifest lists nothing": (
        lambda folder: (folder / "manifest.json").write_text('{"step": 20, "files": {}}'),
        NO_MANIFEST,
    ),
    "manifest lists a number": (
        lambda folder: (folder / "manifest.json").write_text('{"step": 20, "files": {"meta.json": 5}}'),
        NO_MANIFEST,
    ),
    "manifest lists infinity": (
        lambda folder: (folder / "manifest.json").write_text(
            '{"step": 20, "files": {"meta.json": {"bytes": 1e999, "sha256": ""}}}'
        ),
        NO_MANIFEST,
    ),
    "manifest of another step": (lambda folder: of_another_step(folder / "manifest.json"), NO_MANIFEST),
    "manifest not text": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\x00"), NO_MANIFEST),
    "manifest a folder": (lambda folder: become_folder(folder / "manifest.json"), NO_MANIFEST),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_is_named_and_the_previous_checkpoint_chosen(kind: str, damaged: Path) -> None:
    damage, words = DAMAGES[kind]
    damage(damaged / "checkpoints" / "20")
    infos = list_checkpoints(damaged / "checkpoints")
    chosen, refused = choose(infos, "latest")
    assert chosen is not None
    assert (chosen.step, [refusal.step for refusal in refused]) == (15, [20])
    assert words in refused[0].reason
    with pytest.raises(CheckpointError) as caught:
        choose(infos, 20)
    message = str(caught.value)
    assert message.startswith(f"--resume 20: checkpoint {damaged / 'checkpoints' / '20'} is damaged: ")
    assert words in message
    assert message.endswith("; the newest good one before it is --resume 15")


def test_damaged_tags_are_no_damage(damaged: Path) -> None:
    checkpoint = damaged / "checkpoints" / "20"
    set_tags(checkpoint, ["best", "paper"])
    assert list_checkpoints(damaged / "checkpoints")[-1].tags == ("best", "paper")
    for text in ("", "{", "5", "[1"):
        (checkpoint / "tags.json").write_text(text)
        chosen, refused = choose(list_checkpoints(damaged / "checkpoints"), "latest")
        assert chosen is not None
        assert (chosen.step, chosen.tags, refused) == (20, (), [])
        assert chosen.meta["step"] == 20


def test_latest_passes_over_a_damaged_one_says_so_and_makes_the_same_run(damaged: Path, finished: Path) -> None:
    flip(biggest(damaged / "checkpoints" / "20"))
    done = run("train", "--run-dir", damaged, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    refused = [e for e in events_of(damaged, Checkpoint) if e.state == "refused"]
    assert [event.step for event in refused] == [20]
    assert "checkpoint of step 20 refused: params/" in done.stdout
    assert "its SHA-256 does not match" in done.stdout
    assert "warning: resuming from step 15, the newest checkpoint whose bytes are intact" in done.stdout
    assert "checkpoints beyond step 15 (step 20) were moved to" in done.stdout
    started = events_of(damaged, RunStarted)[-1]
    assert (started.resumed_from, started.attempt) == (15, 2)
    assert_same_run(finished, damaged, 20)
    assert [row["step"] for row in rows(damaged)] == list(range(1, 21))
    assert (damaged / "samples.jsonl").read_bytes() == (finished / "samples.jsonl").read_bytes()


def test_a_named_step_that_is_damaged_is_refused_and_nothing_changes(damaged: Path) -> None:
    cut(biggest(damaged / "checkpoints" / "20"))
    before = sorted(path for path in damaged.rglob("*") if path.name not in ("events.jsonl", "train.log"))
    done = run("train", "--run-dir", damaged, "--resume", "20")
    assert done.returncode == 5
    assert done.stderr.startswith("error: --resume 20: checkpoint ")
    assert done.stderr.endswith("; the newest good one before it is --resume 15\n")
    assert done.stderr.count("\n") == 1
    assert sorted(path for path in damaged.rglob("*") if path.name not in ("events.jsonl", "train.log")) == before


def test_all_damaged_is_exit_5_with_a_list(damaged: Path) -> None:
    for step in (10, 15, 20):
        flip(biggest(damaged / "checkpoints" / str(step)))
    done = run("train", "--run-dir", damaged, "--resume", "latest")
    assert done.returncode == 5
    first, *listed = done.stderr.splitlines()
    assert first == "error: every checkpoint of this run is damaged:"
    assert [line.split(":")[0] for line in listed] == ["  step 20", "  step 15", "  step 10"]
    assert [info.step for info in list_checkpoints(damaged / "checkpoints")] == [10, 15, 20], "they were not removed"
    listing = run("checkpoints", damaged, "--verify")
    assert listing.returncode == 5
    assert listing.stdout.count("DAMAGED: params/") == 3
    assert listing.stderr == "error: damaged: step 10, 15, 20; --resume latest skips them\n"


def test_what_was_never_sealed_is_cleared_and_what_is_not_ours_stays(damaged: Path, finished: Path) -> None:
    checkpoints = damaged / "checkpoints"
    (checkpoints / "20" / "manifest.json").unlink()
    (checkpoints / "17.orbax-checkpoint-tmp").mkdir()
    (checkpoints / "mine" / "10").mkdir(parents=True)
    (checkpoints / "notes.txt").write_text("keep")
    assert [info.step for info in list_checkpoints(checkpoints)] == [10, 15]
    done = run("train", "--run-dir", damaged, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert "resumed from step 15" in done.stdout
    assert sorted(path.name for path in checkpoints.iterdir()) == ["10", "15", "20", "mine", "notes.txt"]
    assert_same_run(finished, damaged, 20)


def test_later_checkpoints_are_set_aside_when_resuming_from_an_earlier_step(damaged: Path, finished: Path) -> None:
    for attempt in (2, 3):
        done = run("train", "--run-dir", damaged, "--resume", "10")
        assert done.returncode == 0, done.stderr
        assert "checkpoints beyond step 10 (step 15, 20) were moved to" in done.stdout
        aside = damaged / "checkpoints" / "set-aside" / f"before-attempt-{attempt}"
        assert [(info.step, verify(info.path)) for info in list_checkpoints(aside)] == [(15, []), (20, [])]
    assert_same_run(finished, damaged, 20)
    assert [row["step"] for row in rows(damaged)] == list(range(1, 21))


def test_generate_and_eval_take_the_newest_good_one(damaged: Path) -> None:
    flip(biggest(damaged / "checkpoints" / "20"))
    done = run("generate", damaged, "--prompt", "def", "--max-tokens", 4)
    assert done.returncode == 0, done.stderr
    assert "step 15 of" in done.stderr
    named = run("generate", damaged / "checkpoints" / "20", "--prompt", "def")
    assert named.returncode == 5
    assert "its SHA-256 does not match" in named.stderr
    assert named.stderr.startswith("error: ")
    scored = run("eval", damaged, "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["step"] == 15
