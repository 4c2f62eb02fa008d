"""Sealing a checkpoint, describing it, and finding every change of its bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chomp.checkpoint.retention import Retention
from chomp.errors import CheckpointError
from chomp.record.manifest import CheckpointInfo, list_checkpoints, read_info, seal, set_evaluation, set_tags, verify


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "30"
    (folder / "params" / "d").mkdir(parents=True)
    (folder / "params" / "d" / "one").write_bytes(b"x" * 3_000_000)
    (folder / "params" / "empty").write_bytes(b"")
    seal(folder, {"step": 30, "saved_at": 5.0, "eval_loss": 1.5})
    return folder


def test_a_sealed_folder_describes_itself(checkpoint: Path) -> None:
    info = read_info(checkpoint)
    assert (info.step, info.saved_at, info.eval_loss, info.tags) == (30, 5.0, 1.5, ())
    assert info.bytes == sum(
        path.stat().st_size for path in checkpoint.rglob("*") if path.is_file() and path.name != "manifest.json"
    )
    assert list_checkpoints(checkpoint.parent) == [info]
    assert verify(checkpoint) == []


def test_an_evaluation_after_the_save_counts_where_the_save_had_none(checkpoint: Path) -> None:
    set_evaluation(checkpoint, 9.0, None)
    assert read_info(checkpoint).eval_loss == 1.5
    seal(checkpoint, {"step": 30, "eval_loss": None})
    before = read_info(checkpoint)
    assert (before.eval_loss, before.eval_bpb, verify(checkpoint)) == (9.0, None, [])
    earlier = CheckpointInfo(20, checkpoint, 0, {"eval_loss": 10.0})
    newer = CheckpointInfo(40, checkpoint, 0, {})
    assert Retention(1, keep_best=1).surplus([earlier, before, newer]) == [earlier]
    for damaged in (b"{", b"[]", b'{"eval_loss": "low"}'):
        (checkpoint / "evaluation.json").write_bytes(damaged)
        assert read_info(checkpoint).eval_loss is None


def test_every_single_byte_counts(checkpoint: Path) -> None:
    path = checkpoint / "params" / "d" / "one"
    raw = bytearray(path.read_bytes())
    for place in (0, 1 << 20, len(raw) - 1):
        raw[place] ^= 1
        path.write_bytes(raw)
        assert verify(checkpoint) == ["params/d/one has changed: its SHA-256 does not match"]
        raw[place] ^= 1
    path.write_bytes(raw)
    assert verify(checkpoint) == []
    path.write_bytes(raw + b"x")
    assert verify(checkpoint) == ["params/d/one has 3,000,001 bytes instead of 3,000,000"]
    path.unlink()
    (checkpoint / "params" / "empty").write_bytes(b"!")
    assert verify(checkpoint) == ["params/d/one is missing", "params/empty has 1 bytes instead of 0"]


def test_a_checkpoint_under_another_name_is_none(checkpoint: Path) -> None:
    """A folder copied to another step's name would load another step's arrays."""
    renamed = checkpoint.rename(checkpoint.with_name("40"))
    assert verify(renamed) == ["manifest.json is missing or damaged"]
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        read_info(renamed)
    (listed,) = list_checkpoints(renamed.parent)
    assert (listed.step, listed.meta) == (40, {}), "it occupies its step, so that it can be refused by name"


def test_what_is_no_checkpoint_is_not_listed(checkpoint: Path) -> None:
    parent = checkpoint.parent
    for name in ("31", "7.orbax-checkpoint-tmp", "set-aside", "-5", "3a", "latest"):
        (parent / name).mkdir()
    (parent / "32").write_text("a file")
    assert [info.step for info in list_checkpoints(parent)] == [30]
    assert list_checkpoints(parent / "nowhere") == []
    assert list_checkpoints(parent / "32") == []


def test_tags_are_not_sealed_and_a_damaged_note_is_none(checkpoint: Path) -> None:
    set_tags(checkpoint, ["b", "a", "b"])
    assert read_info(checkpoint).tags == ("a", "b")
    assert verify(checkpoint) == []
    for text in ("{", "5", "\x00"):
        (checkpoint / "tags.json").write_text(text)
        assert read_info(checkpoint).tags == ()


def test_sealing_again_replaces_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "params" / "more").write_bytes(b"1")
    seal(checkpoint, {"step": 30})
    assert verify(checkpoint) == []
    assert "params/more" in json.loads((checkpoint / "manifest.json").read_text())["files"]
