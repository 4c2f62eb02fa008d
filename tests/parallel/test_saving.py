"""Checkpoints of two processes: one that fails, and one that any other process reads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from chomp.checkpoint.reading import load, load_to_host
from chomp.parallel.mesh import ONE_DEVICE
from chomp.record.manifest import list_checkpoints, listed_names, verify
from tests.parallel.group import free_port, outputs
from tests.parallel.saving import SHAPES, arrays


def test_two_processes_save_and_one_reads(tmp_path: Path) -> None:
    port, env = free_port(), {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-m", "tests.parallel.saving"]
    processes = [
        subprocess.Popen([*command, str(index), str(port), str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    full = f"process 1 (pid {processes[1].pid} on {socket.gethostname()}): File too large: a size limit was reached"
    leader, other = (json.loads(printed.splitlines()[-1]) for printed in outputs(processes))
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
