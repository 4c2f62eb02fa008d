"""The step is compiled once per run, kept for the next start, and nothing else compiles while training."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chomp.record.events import Compiled, RunEnded, Warned
from chomp.record.manifest import list_checkpoints
from tests.engine import dummy_config, events_of, write_config, write_corpus
from tests.engine import run as run_process
from tests.in_process import run


@pytest.mark.process
def test_a_second_start_takes_the_step_from_a_private_cache(tmp_path: Path) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 6, "eval_every": 3, "generate_every": 3})
    path = write_config(tmp_path / "tiny.yaml", config)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    printed = []
    for number in (1, 2):
        done = run_process("train", path, "--run-dir", tmp_path / f"run{number}", env=environment)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    hits = [event.cache_hit for n in (1, 2) for event in events_of(tmp_path / f"run{n}", Compiled)]
    assert hits == [False, True]
    assert "compiled in" in printed[0]
    assert "compiled from the cache" in printed[1]
    folder = tmp_path / "cache" / "chomp" / "jax"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert any(folder.iterdir())
    # Evaluation and samples between the steps compile programs of their own; no step does.
    for number in (1, 2):
        recompiled = [e for e in events_of(tmp_path / f"run{number}", Warned) if e.topic == "recompile"]
        assert recompiled == []


@pytest.mark.compile
def test_a_step_that_cannot_be_compiled_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of step 0 would refuse the smaller model with which the run can begin after all.

    A start by hand leaves nothing; one by another program, which made the log, leaves its record, and a new run begins
    in the same directory.
    """
    path = write_config(tmp_path / "config.yaml", dummy_config(write_corpus(tmp_path / "corpus", documents=5)))
    run_dir = tmp_path / "run"
    arguments = ["train", path, "--run-dir", run_dir]
    with monkeypatch.context() as patch:
        patch.setattr("chomp.train.trainer.compile_step", without_room)
        assert run(*arguments).returncode == 4
        assert not run_dir.exists()
        run_dir.mkdir()
        (run_dir / "train.log").touch()
        failed = run(*arguments)
    assert failed.returncode == 4, failed.stderr
    assert "out of memory while the step was compiled" in failed.stderr
    ended = events_of(run_dir, RunEnded)[-1]
    assert (ended.status, ended.step) == ("crashed", 0)
    assert list_checkpoints(run_dir / "checkpoints") == []
    done = run(*arguments, "-o", "model.model_dim=8", "-o", "train.steps=3")
    assert done.returncode == 0, done.stderr
    assert "already holds a run" in run(*arguments).stderr


def without_room(*args: object, **named: object) -> None:
    raise MemoryError("no room for the step")
