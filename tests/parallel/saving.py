"""One of two processes that save together: `python -m tests.parallel.saving INDEX PORT FOLDER`."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.sharding import Mesh

from chomp.checkpoint.reading import load
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.store import CheckpointStore
from chomp.parallel.key_values import KeyValues
from chomp.parallel.mesh import AXES, Placement
from chomp.parallel.world import Processes, World
from chomp.record.events import Checkpoint
from chomp.record.held_folder import HeldFolder

SHAPES = {"large": (512, 384), "small": (7,)}


def arrays(step: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(step)
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}


def items(step: int, placement: Placement) -> dict[str, Any]:
    def placed(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, placement.sharding(array.shape), lambda index: array[index])

    return {
        "params": {name: placed(array) for name, array in arrays(step).items()},
        "state": {"rng": placed(np.arange(2, dtype=np.uint32))},
    }


def join(index: int, port: int) -> World:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=index)
    return Processes(KeyValues(distributed.global_state.client), index, 2)


def main(index: int, port: int, folder: Path) -> None:
    world = join(index, port)
    devices = np.asarray(jax.devices())
    placement = Placement(Mesh(devices.reshape(1, len(devices)), AXES))
    told: list[Checkpoint] = []
    # As where other files are open.
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(3 * index)]
    store = CheckpointStore(
        folder / "checkpoints",
        retention=Retention(1),
        on_event=told.append,
        held=HeldFolder(folder),
        world=world,
    )
    store.prepare()
    assert store.prove(items(0, placement), 20) is None
    store.save(1, items(1, placement), {"documents": 1}, {"step": 1}, wait=False)
    store.wait()
    failures = [store.take_failure()]
    if index == 1:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    store.save(2, items(2, placement), {"documents": 2}, {"step": 2}, wait=True)
    failures.append(store.take_failure())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.save(2, items(2, placement), {"documents": 2}, {"step": 2}, wait=True)
    failures.append(store.take_failure())
    assert (store.has(1), store.has(2), store.will_stay(3, None)) == (True, False, False)
    store.save(3, items(3, placement), {"documents": 3}, {"step": 3}, wait=True)
    (info,) = store.common_infos()
    problems = store.verify(info.path)
    loaded, position = load(info, placement.abstract({"params": items(0, placement)["params"]}), verified=True)
    for name, array in arrays(3).items():
        for shard in loaded["params"][name].addressable_shards:
            assert np.array_equal(np.asarray(shard.data), array[shard.index])
    said = {
        "states": [(event.state, event.step) for event in told],
        "failures": [failure and failure.reason for failure in failures],
        "position": position,
        "problems": problems,
        "busy": store.is_busy(),
    }
    print(json.dumps(said), flush=True)
    world.leave()
    for number in spare:
        os.close(number)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
