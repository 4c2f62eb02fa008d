"""A real limit on the addresses of an engine: its allocation fails, and the attempt ends with the sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chomp.record.events import RunEnded
from chomp.record.manifest import list_checkpoints
from tests.engine import dummy_config, events_of, write_config, write_corpus
from tests.in_process import run

pytestmark = pytest.mark.process

# The limit is set before the third step. It leaves room for everything but the step's temporary arrays of 1.5 GiB.
LIMITED = """
import resource, sys
import psutil
from chomp.cli import main
from chomp.cli.engine import prepare_environment
prepare_environment()
from chomp.train.trainer import Trainer
advance = Trainer.advance
def limited(trainer):
    if trainer.dispatched == 2:
        trainer.catch_up()
        addresses = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (addresses + 400 * 2**20, resource.RLIM_INFINITY))
    return advance(trainer)
Trainer.advance = limited
main.run(main.cli, sys.argv[1:])
"""


def test_an_allocation_that_fails_ends_the_attempt_with_advice_that_works(tmp_path: Path) -> None:
    train = {"steps": 3, "batch_size": 16, "seq_len": 512}
    config = dummy_config(
        write_corpus(tmp_path / "corpus", documents=400),
        model={"vocab_size": 16384},
        data={"max_eval_samples": 2},
        train=train,
        checkpoint={"save_every": 1, "async_save": False},
    )
    path, run_dir = write_config(tmp_path / "c.yaml", config), tmp_path / "run"
    command = [sys.executable, "-c", LIMITED, "train", str(path), "--run-dir", str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 4, done.stderr
    (ended,) = events_of(run_dir, RunEnded)
    assert ended.reason.startswith("out of memory in step 3: ")
    assert "MiB were requested and " in ended.reason or "GiB were requested and " in ended.reason
    assert re.search(r" and [34]\d\d MiB of ", ended.reason)
    assert "under this process's limit of addresses (ulimit -v)" in ended.reason
    assert ended.reason.endswith(" continues from step 2")
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")] == [1, 2]
    assert "Traceback" not in done.stderr

    resumed = run(*ended.reason.split("`")[1].split()[1:])
    assert resumed.returncode == 0, resumed.stderr
    assert list_checkpoints(run_dir / "checkpoints")[-1].step == 3
