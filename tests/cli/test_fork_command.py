"""`chomp fork` on whatever it is pointed at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chomp.config import derive, derived_section, parse_config
from chomp.record.manifest import list_checkpoints, seal
from chomp.record.origin import read_origin
from chomp.record.rundir import RunDir
from tests.in_process import run


@pytest.fixture
def origin(tmp_path: Path) -> RunDir:
    origin = RunDir(tmp_path / "origin")
    config = parse_config("train: {steps: 500}", source="t").config
    identity = {**config.model_dump(), "derived": derived_section(derive(config))}
    for step in (5, 10):
        folder = origin.checkpoints / str(step)
        folder.mkdir(parents=True)
        (folder / "arrays").write_bytes(os.urandom(100))
        seal(folder, {"step": step, "identity": identity})
    return origin


def test_latest_is_the_newest_that_is_intact(origin: RunDir, tmp_path: Path) -> None:
    (origin.checkpoints / "10" / "arrays").write_bytes(b"y" * 100)
    done = run("fork", origin.path, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "skipped step 10: arrays has changed: its SHA-256 does not match\n"
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'new'} starts from step 5 of {origin.path}",
        f"train it with: chomp train --run-dir {tmp_path / 'new'} --resume 5",
    ]
    assert [info.step for info in list_checkpoints(tmp_path / "new" / "checkpoints")] == [5]


def test_from_inside_the_run(origin: RunDir, tmp_path: Path) -> None:
    done = run("fork", ".", "../new", "--step", "5", cwd=origin.path)
    assert done.returncode == 0, done.stderr
    source = read_origin(RunDir(tmp_path / "new"))
    assert source is not None
    assert (source.run, Path(source.path)) == ("origin", origin.path)


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("--step", "7"), 5, "has no checkpoint of step 7 (it has: 5, 10)"),
        (("--step", "soon"), 2, "--step soon: expected a step number or latest"),
        (("--step", "-5"), 2, "--step -5: expected a step number or latest"),
    ],
)
def test_mistakes_are_one_sentence(args: tuple[str, ...], code: int, sentence: str, origin: RunDir) -> None:
    done = run("fork", origin.path, origin.path.parent / "new", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (origin.path.parent / "new").exists()


def test_places_that_will_not_do(origin: RunDir, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    for new, sentence in (
        (tmp_path / "there", "already exists; the new run needs a new name"),
        (tmp_path / "file" / "new", "Not a directory"),
    ):
        done = run("fork", origin.path, new)
        assert done.returncode == 5, done.stderr
        assert sentence in done.stderr
    nothing = run("fork", tmp_path / "nowhere", tmp_path / "new")
    assert (nothing.returncode, nothing.stderr) == (5, f"error: there is no run directory at {tmp_path / 'nowhere'}\n")


def test_nothing_to_fork_from(tmp_path: Path) -> None:
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    done = run("fork", tmp_path / "empty", tmp_path / "new")
    assert (done.returncode, done.stderr) == (5, f"error: {tmp_path / 'empty'} has no checkpoint to fork from\n")
