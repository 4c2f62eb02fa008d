"""From the command to the compiled step there is little to read: six frames, three files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine import dummy_config, write_config, write_corpus

# A stand-in for the compiled step that says who called it, and then is the compiled step.
MEASURED = """
import dataclasses, json, sys, traceback
from pathlib import Path
import chomp
import chomp.train.trainer
from chomp.__main__ import main

ROOT = Path(chomp.__file__).parent
compile_step = chomp.train.trainer.compile_step

def compile_measured(*args):
    compiled = compile_step(*args)

    def step(state, batch):
        frames = [
            (Path(frame.filename).relative_to(ROOT).as_posix(), frame.name)
            for frame in traceback.extract_stack()
            if Path(frame.filename).is_relative_to(ROOT)
        ]
        print("FRAMES", json.dumps(frames), file=sys.stderr)
        return compiled.step(state, batch)

    return dataclasses.replace(compiled, step=step)

chomp.train.trainer.compile_step = compile_measured
main()
"""


@pytest.mark.process
def test_six_frames_in_three_files(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "config.yaml", dummy_config(write_corpus(tmp_path / "corpus", documents=5), train={"steps": 3})
    )
    arguments = ["train", str(path), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line[7:]) for line in done.stderr.splitlines() if line.startswith("FRAMES ")]
    assert len(told) == 3
    for frames in told:
        # What finds and calls the command is the command line's, and not of training.
        begin = frames.index(["cli/train.py", "command"])
        below = frames[begin:]
        assert below[-1] == ["train/trainer.py", "advance"]
        assert len(below) <= 6, below
        assert len({file for file, _ in below}) <= 3, below
