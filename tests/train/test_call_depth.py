"""From the command to the compiled step there is little to read: six frames, three files."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from typing import Any

import pytest

import chomp
from chomp.train.trainer import compile_step
from tests.engine import dummy_config, write_config, write_corpus
from tests.in_process import run

PACKAGE = Path(chomp.__file__).parent


def test_six_frames_in_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[str, str]]] = []

    def compile_recording(*args: Any, **named: Any) -> Any:
        """The compiled step, which records who calls it."""
        compiled = compile_step(*args, **named)

        def step(state: Any, batch: Any) -> Any:
            frames = [(Path(frame.filename), frame.name) for frame in traceback.extract_stack()]
            own = [(path, name) for path, name in frames if path.is_relative_to(PACKAGE)]
            calls.append([(path.relative_to(PACKAGE).as_posix(), name) for path, name in own])
            return compiled.step(state, batch)

        return dataclasses.replace(compiled, step=step)

    monkeypatch.setattr("chomp.train.trainer.compile_step", compile_recording)
    config = dummy_config(write_corpus(tmp_path / "corpus", documents=5), train={"steps": 3})
    done = run("train", write_config(tmp_path / "config.yaml", config), "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 3
    for frames in calls:
        # What finds and calls the command belongs to the command line, and not to training.
        below = frames[frames.index(("cli/train.py", "command")) :]
        assert below[-1] == ("train/trainer.py", "advance")
        assert len(below) <= 6, below
        assert len({file for file, _ in below}) <= 3, below
