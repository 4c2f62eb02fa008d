"""Run directories: which are runs, and files that are replaced whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chomp.errors import RunDirError
from chomp.record.codec import encode
from chomp.record.rundir import RunDir, list_runs, open_run, write_whole
from tests.fakeruns import ended, started


def make_run(path: Path, resolved: object = None) -> Path:
    path.mkdir(parents=True)
    (path / "events.jsonl").touch()
    (path / "config_resolved.json").write_text(json.dumps(resolved if resolved is not None else {"logging": {}}))
    return path


def test_names_of_files_follow_the_configuration(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "run", {"logging": {"metrics_file": "m.jsonl", "log_file": "l.txt"}}))
    assert (run.metrics, run.log) == (tmp_path / "run" / "m.jsonl", tmp_path / "run" / "l.txt")


def test_what_makes_a_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    assert not run.holds_run()
    run.events.touch()
    assert run.holds_run()
    assert not run.is_started(), "an engine that found its text missing leaves only this"
    run.checkpoints.mkdir()
    run.config_resolved.write_text("{}")
    assert run.is_started()
    run.events.write_bytes(encode(started(), 1.0) + encode(ended("crashed", 0, "no room", exit_code=4), 2.0))
    assert not run.is_started(), "there is nothing to continue"
    for path, content in ((run.metrics, b'{"step":1}\n'), (run.checkpoints / "0", b"")):
        path.write_bytes(content)
        assert run.is_started()
        path.unlink()
    for end in (ended("crashed", 3, exit_code=4), ended("crashed", 0, exit_code=1), started()):
        run.events.write_bytes(encode(end, 3.0))
        assert run.is_started()


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=f"there is no run directory at {tmp_path / 'x'}"):
        open_run(tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(RunDirError, match="there is no run directory at"):
        open_run(tmp_path / "file")
    with pytest.raises(RunDirError, match=r"holds no run: it has neither events\.jsonl nor checkpoints/"):
        open_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"logging": 3}', "[" * 100_000, "\x00"], ids=range(6))
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "config_resolved.json").write_text(text)
    with pytest.raises(RunDirError, match=r"config_resolved\.json is damaged"):
        open_run(path)


def test_a_configuration_that_is_a_folder(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "config_resolved.json").unlink()
    (path / "config_resolved.json").mkdir()
    with pytest.raises(RunDirError, match=r"config_resolved\.json cannot be read: Is a directory"):
        open_run(path)


def test_runs_are_listed_newest_first_and_nothing_else(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "older")):
        os.utime(make_run(tmp_path / name) / "events.jsonl", (1e9 - age, 1e9 - age))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [path.name for path in list_runs(tmp_path)] == ["new", "old", "older"]
    assert list_runs(tmp_path / "nowhere") == []
    assert list_runs(tmp_path / "file") == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"three")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"], "no temporary file stays"
