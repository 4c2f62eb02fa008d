"""A fork is whole or not there, shares bytes without sharing fate, and says where it comes from."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from chomp.config import derive, derived_section, parse_config, parse_resolved
from chomp.errors import CheckpointError, ChompError, RunDirError
from chomp.record import fork as fork_module
from chomp.record.codec import json_line
from chomp.record.fork import fork_run
from chomp.record.lock import RunLock
from chomp.record.manifest import list_checkpoints, read_info, seal, set_tags, verify
from chomp.record.origin import read_origin
from chomp.record.removal import delete_checkpoint, delete_run
from chomp.record.rundir import RunDir, list_runs, open_run

CONFIG = parse_config("optim: {lr: 2.5e-3}\nlogging: {metrics_file: rows.jsonl, run_dir: runs/old}", source="t").config


@pytest.fixture
def origin(tmp_path: Path) -> RunDir:
    path = tmp_path / "runs" / "origin"
    run = RunDir(path, metrics_name="rows.jsonl")
    identity = {
        **CONFIG.model_dump(),
        "derived": derived_section(derive(CONFIG)),
        "data_fingerprint": {"sha256": "f"},
        "tokenizer_digest": "t",
    }
    for step in (10, 20, 30):
        folder = run.checkpoints / str(step)
        (folder / "params" / "empty").mkdir(parents=True)
        (folder / "params" / "d").write_bytes(os.urandom(5000))
        seal(folder, {"step": step, "saved_at": time.time(), "identity": identity})
    set_tags(run.checkpoints / "20", ["base"])
    run.config_original.write_text("optim: {lr: 2.5e-3} # mine\n")
    run.config_resolved.write_text(json.dumps({**CONFIG.model_dump(), "train": {"steps": 99}}))
    run.tokenizer.mkdir()
    (run.tokenizer / "tokenizer.json").write_text("{}")
    run.events.write_bytes(b"")
    run.metrics.write_bytes(b"".join(json_line({"step": step, "loss": 1.0}) for step in range(1, 31)) + b'{"step":5')
    run.samples.write_bytes(b"".join(json_line({"step": step, "text": "x"}) for step in (15, 25)) + b"[1]\nnonsense\n")
    return run


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_what_a_fork_holds(origin: RunDir) -> None:
    new = origin.path.parent / "deep" / "new"
    fork = fork_run(origin, 20, new)
    assert sorted(path.name for path in new.iterdir()) == [
        "checkpoints",
        "config_original.yaml",
        "config_resolved.json",
        "origin.json",
        "rows.jsonl",
        "samples.jsonl",
        "tokenizer",
    ]
    assert [info.step for info in list_checkpoints(fork.checkpoints)] == [20]
    assert verify(fork.checkpoints / "20") == []
    assert (fork.checkpoints / "20" / "params" / "empty").is_dir()
    assert read_info(fork.checkpoints / "20").tags == ("base",)
    assert fork.config_original.read_bytes() == origin.config_original.read_bytes()
    assert (steps(fork.metrics), steps(fork.samples)) == (list(range(1, 21)), [15])
    assert fork == open_run(new), "its files have the names that its settings give them"
    settings = parse_resolved(fork.load_resolved(), source="t").config
    assert settings.optim == CONFIG.optim, "those of the checkpoint, not of the run's last start"
    assert settings.logging.run_dir is None
    source = read_origin(fork)
    assert source is not None
    assert (source.run, source.path, source.step) == ("origin", str(origin.path.absolute()), 20)
    assert abs(source.forked_at - time.time()) < 60
    assert read_origin(origin) is None
    assert [path.name for path in new.parent.iterdir()] == ["new"], "nothing hidden is left"


def test_sealed_files_are_shared_and_all_others_are_not(origin: RunDir) -> None:
    fork = fork_run(origin, 20, origin.path.parent / "new")
    ours, theirs = origin.checkpoints / "20", fork.checkpoints / "20"
    assert (ours / "params" / "d").samefile(theirs / "params" / "d")
    assert (ours / "meta.json").samefile(theirs / "meta.json")
    for name in ("tags.json", "manifest.json"):
        assert not (ours / name).samefile(theirs / name)
    set_tags(theirs, [])
    assert read_info(ours).tags == ("base",)
    delete_checkpoint(fork, 20)
    assert verify(ours) == []


def test_a_fork_outlives_its_origin(origin: RunDir) -> None:
    fork = fork_run(origin, 30, origin.path.parent / "new")
    delete_run(origin.path)
    assert verify(fork.checkpoints / "30") == []
    assert list_runs(fork.path.parent) == [fork.path]


def test_a_file_system_without_links_gets_copies(origin: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    fork = fork_run(origin, 20, origin.path.parent / "new")
    assert verify(fork.checkpoints / "20") == []
    assert not (origin.checkpoints / "20" / "meta.json").samefile(fork.checkpoints / "20" / "meta.json")


def leftovers(origin: RunDir) -> list[str]:
    return sorted(path.name for path in origin.path.parent.iterdir())


def test_a_damaged_checkpoint_is_refused_and_nothing_is_left(origin: RunDir) -> None:
    (origin.checkpoints / "20" / "params" / "d").write_bytes(b"x" * 5000)
    with pytest.raises(CheckpointError, match=r"20 is damaged: params/d has changed: its SHA-256 does not match"):
        fork_run(origin, 20, origin.path.parent / "new")
    (origin.checkpoints / "30" / "params" / "d").unlink()
    with pytest.raises(CheckpointError, match=r"30 is damaged: params/d is missing"):
        fork_run(origin, 30, origin.path.parent / "new")
    assert leftovers(origin) == ["origin"]


def test_a_step_that_is_not_there(origin: RunDir) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 15 \(it has: 10, 20, 30\)"):
        fork_run(origin, 15, origin.path.parent / "new")


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_an_existing_target_is_refused(kind: str, origin: RunDir) -> None:
    new = origin.path.parent / "new"
    if kind == "folder":
        new.mkdir()
    elif kind == "file":
        new.write_text("")
    else:
        new.symlink_to("nowhere")
    with pytest.raises(RunDirError, match="already exists; the new run needs a new name"):
        fork_run(origin, 20, new)


def test_a_fork_inside_its_origin_is_refused(origin: RunDir) -> None:
    with pytest.raises(RunDirError, match="lies inside"):
        fork_run(origin, 20, origin.path / "checkpoints" / "99")


def test_a_disk_that_fills_up_leaves_nothing(origin: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path, step: int) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(fork_module, "_copy_rows", full)
    with pytest.raises(RunDirError, match=r"cannot fork to .*: No space left on device"):
        fork_run(origin, 20, origin.path.parent / "new")
    assert leftovers(origin) == ["origin"]


def test_a_checkpoint_without_settings_cannot_begin_a_run(origin: RunDir) -> None:
    folder = origin.checkpoints / "40"
    folder.mkdir()
    seal(folder, {"step": 40})
    with pytest.raises(CheckpointError, match="does not say which settings"):
        fork_run(origin, 40, origin.path.parent / "new")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": "x"}', '{"run":1,"path":1,"step":[],"forked_at":0}'])
def test_a_damaged_origin_is_none(text: str, origin: RunDir) -> None:
    origin.origin.write_text(text)
    assert read_origin(origin) is None


def test_a_run_in_use_is_not_deleted(origin: RunDir) -> None:
    lock = RunLock(origin.lock)
    lock.acquire()
    for act in (lambda: delete_run(origin.path), lambda: delete_checkpoint(origin, 10)):
        with pytest.raises(RunDirError, match=f"in use by pid {os.getpid()} on .*: stop it first"):
            act()
    assert [info.step for info in list_checkpoints(origin.checkpoints)] == [10, 20, 30]
    lock.release()
    delete_checkpoint(origin, 10)
    assert [info.step for info in list_checkpoints(origin.checkpoints)] == [20, 30]
    delete_run(origin.path)
    assert leftovers(origin) == []


def test_deleting_leaves_the_note_of_another_machine_alone(origin: RunDir) -> None:
    note = '{"pid": 7, "host": "elsewhere", "started": 1.0}'
    origin.lock.write_text(note)
    delete_checkpoint(origin, 10)
    assert origin.lock.read_text() == note


def test_a_deletion_that_is_interrupted_leaves_no_run(origin: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path / "checkpoints"))

    monkeypatch.setattr("chomp.record.removal.shutil.rmtree", fail)
    with pytest.raises(ChompError, match=re.escape("is gone from the list, but")):
        delete_run(origin.path)
    assert list_runs(origin.path.parent) == []
    assert not origin.path.exists()


def test_deleting_what_is_gone(origin: RunDir) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint of step 15 any more"):
        delete_checkpoint(origin, 15)
    with pytest.raises(RunDirError, match="cannot be deleted: No such file"):
        delete_run(origin.path.parent / "nothing")
