"""A folder that is held open: wherever it is renamed to, and when it is gone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chomp.errors import RunDirError
from chomp.record.held_folder import HeldFolder, by_name

GONE = "was removed, unmounted or replaced by another while the engine ran"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HeldFolder]:
    # Of a name that is not UTF-8, as a run directory may have.
    path = tmp_path / os.fsdecode(b"r\xe9")
    path.mkdir()
    with HeldFolder(path) as held:
        yield held


def test_a_folder_that_stays(held: HeldFolder) -> None:
    before = held.path
    assert not held.follow()
    assert held.path == before
    (held.through / "file").write_text("x")
    assert (before / "file").read_text() == "x"
    str(held.through).encode()


def test_a_renamed_folder_is_found_and_written_to(held: HeldFolder, tmp_path: Path) -> None:
    before, after = held.path, tmp_path / "elsewhere" / "renamed"
    after.parent.mkdir()
    before.rename(after)
    # Another folder, or a file, with the old name is not it.
    before.mkdir()
    assert held.follow()
    assert held.path == after
    assert not held.follow(), "it is said once"
    (held.through / "file").touch()
    assert (after / "file").exists()
    assert list(before.iterdir()) == []


@pytest.mark.parametrize("instead", ["nothing", "folder", "file"])
def test_a_folder_that_is_gone(instead: str, held: HeldFolder) -> None:
    shutil.rmtree(held.path)
    if instead == "folder":
        held.path.mkdir()
    elif instead == "file":
        held.path.touch()
    with pytest.raises(RunDirError, match=GONE):
        held.follow()
    with pytest.raises(FileNotFoundError):
        (held.through / "checkpoints").mkdir(parents=True)
    assert held.path.exists() == (instead != "nothing"), "it is not made anew"


def test_a_folder_above_that_became_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    with HeldFolder(folder) as held:
        shutil.rmtree(tmp_path / "runs")
        (tmp_path / "runs").touch()
        with pytest.raises(RunDirError, match=GONE):
            held.follow()


def test_a_file_system_that_does_not_answer_has_moved_nothing(
    held: HeldFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> os.stat_result:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(Path, "stat", refuse)
    assert not held.follow()


def test_a_folder_that_was_removed_on_a_server(held: HeldFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder may have its name by now; the descriptor's handle is stale."""

    def stale(fd: int) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", stale)
        with pytest.raises(RunDirError, match=GONE):
            held.follow()


def test_a_relative_path_after_the_working_directory_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    with HeldFolder(Path("run")) as held:
        (tmp_path / "work" / "run").rename(tmp_path / "saved")
        (tmp_path / "work").rmdir()
        assert held.absolute == tmp_path / "work" / "run"
        assert held.follow()
        assert held.absolute == held.path == tmp_path / "saved"


def test_messages_name_the_path_that_the_user_knows(held: HeldFolder) -> None:
    assert by_name(f"no {held.through}/checkpoints/5", Path("/runs/a")) == "no /runs/a/checkpoints/5"
