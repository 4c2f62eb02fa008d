"""Checkpoints of two processes: one that fails, and one that any other process reads."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from chomp.checkpoint.reading import load, load_to_host
from chomp.parallel.mesh import ONE_DEVICE
from chomp.record.events import Checkpoint
from chomp.record.manifest import list_checkpoints, listed_names, verify
from tests.engine import events_of, exact_rows, slow_dummy_config, write_config, write_corpus
from tests.parallel.group import Group, free_port
from tests.parallel.saving import SHAPES, arrays


def test_two_processes_save_and_one_reads(tmp_path: Path) -> None:
    port, env = free_port(), {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-m", "tests.parallel.saving"]
    processes = [
        subprocess.Popen([*command, str(index), str(port), str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    full = f"process 1 (pid {processes[1].pid} on {socket.gethostname()}): File too large: a size limit was reached"
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    leader, other = (json.loads(output.splitlines()[-1]) for output in outputs)
    # A save that one cannot write fails in both, and the next one succeeds; the leader alone deletes.
    states = [
        ["saving", 1],
        ["committed", 1],
        ["saving", 2],
        ["failed", 2],
        ["failed", 2],
        ["saving", 3],
        ["committed", 3],
    ]
    assert leader == {
        "states": [*states, ["deleted", 1]],
        "failures": [None, full, full],
        "position": {"documents": 3},
        "problems": [],
        "busy": True,
    }
    assert other == {**leader, "states": states}

    (info,) = list_checkpoints(tmp_path / "checkpoints")
    assert (info.step, verify(info.path)) == (3, [])
    names = listed_names(info.path)
    assert {"params/ocdbt.process_0/manifest.ocdbt", "params/ocdbt.process_1/manifest.ocdbt"} < set(names)
    assert sum(name.startswith("data/") for name in names) == 1
    shapes = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in SHAPES.items()}
    on_device, position = load(info, ONE_DEVICE.abstract({"params": shapes}), verified=True)
    on_host = load_to_host(info, "params", shapes)
    assert position == {"documents": 3}
    for name, array in arrays(3).items():
        assert np.array_equal(on_device["params"][name], array)
        assert np.array_equal(on_host[name], array)


def test_a_full_disk_of_one_process_is_named_and_the_resume_is_exact(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"train": {"steps": 120}, "checkpoint": {"save_every": 20}}
    config = slow_dummy_config(write_corpus(tmp_path / "corpus"), **sections)
    path, run_dir = write_config(tmp_path / "c.yaml", {**config, "parallel": {"fsdp": 2}}), tmp_path / "run"
    with Group(run_dir, path) as group:
        group.wait_for(lambda event: isinstance(event, Checkpoint) and event.state == "committed")
        full = group.engines[1].process.pid
        resource.prlimit(full, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        assert group.finish() == [5, 5]
    reason = f"process 1 (pid {full} on {socket.gethostname()}): File too large: a size limit was reached"
    assert group.end().reason == f"all 120 steps done, but step 120 could not be saved: {reason}"
    failed = [event for event in events_of(run_dir, Checkpoint) if event.state == "failed"]
    assert {event.reason for event in failed} == {reason}
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")][-1] < 120

    uninterrupted = exact_rows(run_dir)
    with Group(run_dir, "--resume", "latest") as group:
        assert group.finish() == [0, 0], group.texts()
    assert exact_rows(run_dir) == uninterrupted
    assert verify(run_dir / "checkpoints" / "120") == []
