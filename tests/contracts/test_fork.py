"""A fork trains by itself: with the same settings it is the run it came from, bit for bit, and leaves that alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from chomp.record.events import RunStarted
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import assert_same_run, events_of, rows, tiny_config
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_fork_with_the_same_settings_is_the_run_it_came_from(references: References, tmp_path: Path) -> None:
    config = tiny_config(
        references.corpus,
        data={"packing_mode": "bin", "packing_buffer_docs": 7, "shuffle": True},
        train={"steps": 40, "eval_every": 15},
        checkpoint={"save_every": 10, "max_to_keep": 4},
    )
    origin, fork = references.run(run, config), tmp_path / "fork"
    before = contents(origin)
    forked = run("fork", origin, fork, "--step", 20)
    assert forked.returncode == 0, forked.stderr
    assert [row["step"] for row in rows(fork)] == list(range(1, 21)), "the curve up to the fork"
    resumed = run("train", "--run-dir", fork, "--resume", 20)
    assert resumed.returncode == 0, resumed.stderr + resumed.stdout
    assert_same_run(origin, fork, 40)
    assert contents(origin) == before
    (started,) = events_of(fork, RunStarted)
    assert (started.attempt, started.resumed_from) == (1, 20)


def test_a_fork_with_another_setting_leaves_its_origin_alone(references: References, tmp_path: Path) -> None:
    """Retention, tags and a resume of the fork write nothing through the links, and delete nothing behind them."""
    origin, fork = references.copy(tmp_path / "origin", run, references.config), tmp_path / "fork"
    assert run("checkpoints", origin, "--tag", 10, "base").returncode == 0
    before = contents(origin)
    forked = run("fork", origin, fork, "--step", 10)
    assert forked.stdout.splitlines() == [
        f"{fork} starts from step 10 of {origin}",
        f"train it with: chomp train --run-dir {fork} --resume 10",
    ]
    refused = run("train", "--run-dir", fork, "--resume", 10, "-o", "optim.lr=1e-4")
    assert refused.returncode == 5
    assert "needs --accept optim.lr" in refused.stderr
    assert run("checkpoints", fork, "--untag", 10).returncode == 0
    change = ("-o", "optim.lr=1e-4", "-o", "checkpoint.max_to_keep=1", "--accept", "optim.lr")
    trained = run("train", "--run-dir", fork, "--resume", "10", *change)
    assert trained.returncode == 0, trained.stderr
    assert [info.step for info in list_checkpoints(fork / "checkpoints")] == [20], "its own first one is gone"
    again = run("train", "--run-dir", fork, "--resume", "latest", "-o", "train.steps=25")
    assert again.returncode == 0, again.stderr
    assert contents(origin) == before
    assert verify(origin / "checkpoints" / "10") == []
    assert rows(fork)[9] == rows(origin)[9]
    assert rows(fork)[10]["lr"] != rows(origin)[10]["lr"]


def test_generate_and_eval_take_a_fork(references: References, tmp_path: Path) -> None:
    origin, fork = references.run(run, references.config), tmp_path / "fork"
    assert run("fork", origin, fork).returncode == 0
    one = run("generate", origin, "--prompt", "def ", "--max-tokens", 12)
    other = run("generate", fork, "--prompt", "def ", "--max-tokens", 12)
    assert (one.returncode, other.returncode) == (0, 0), one.stderr + other.stderr
    assert one.stdout == other.stdout
    assert run("eval", fork, "--json").returncode == 0
