"""The step is compiled once per run, kept for the next start, and nothing else compiles while training."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chomp.events import Compiled, Warned
from tests.engine import events_of, run, tiny_config, write_config, write_corpus


@pytest.mark.slow
def test_a_second_start_takes_the_step_from_a_private_cache(tmp_path: Path) -> None:
    config = tiny_config(write_corpus(tmp_path / "corpus"), train={"steps": 6, "eval_every": 3, "generate_every": 3})
    path = write_config(tmp_path / "tiny.yaml", config)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    printed = []
    for number in (1, 2):
        done = run("train", path, "--run-dir", tmp_path / f"run{number}", env=environment)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    hits = [event.cache_hit for n in (1, 2) for event in events_of(tmp_path / f"run{n}", Compiled)]
    assert hits == [False, True]
    assert "compiled anew" in printed[0]
    assert "compiled from the cache" in printed[1]
    folder = tmp_path / "cache" / "chomp" / "jax"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert any(folder.iterdir())
    # Evaluation and samples between the steps compile programs of their own; no step does.
    for number in (1, 2):
        recompiled = [e for e in events_of(tmp_path / f"run{number}", Warned) if e.topic == "recompile"]
        assert recompiled == []
