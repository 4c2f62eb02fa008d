"""A process with eight virtual devices that trains on meshes and prints what it found, as JSON.

JAX decides on the number of devices once in a process: `python -m tests.parallel.virtual NAME…` runs the experiments of
these names.
"""

import collections
import functools
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import optax

from chomp.config.load import parse_config
from chomp.config.mesh import micro_batches
from chomp.config.schema import Config
from chomp.config.variants import POLICIES
from chomp.data.batch import Batch
from chomp.optim.groups import embedding_of
from chomp.optim.muon import build
from chomp.parallel.mesh import Placement, place_on
from chomp.pretrained.tensors import Tensor
from chomp.step.state import TrainState, abstract_state, init_state
from chomp.step.train_step import compile_train_step, make_train_step
from chomp.train.blueprint import build_blueprint
from chomp.train.compilation import abstract_batch
from tests.compiling import compile_quickly
from tests.model.tiny import SEQ, packed_batch, parts, tiny_config
from tests.pretrained.folders import hub_folder, tensors, write_shards

# Matrices with 4,096 numbers or more are cut.
WIDE: dict[str, dict[str, Any]] = {
    "llama": {"model_dim": 128, "ffn_hidden_dim": 256},
    "megalodon": {"model_dim": 128, "ffn_hidden_dim": 256, "z_dim": 64, "value_dim": 128, "cema_ndim": 32},
}
# Four micro-batches on eight devices.
ROWS, MOST = 64, 2
MESHES = {"one": (1, 1), "dp": (8, 1), "fsdp": (1, 8), "both": (2, 4)}


class Run:
    """A tiny model on a mesh, with its compiled step."""

    def __init__(self, backend: str, mesh: str, **sections: Any) -> None:
        data, fsdp = MESHES[mesh]
        model = {**WIDE[backend], **sections.pop("model", {})}
        sections["parallel"] = {"data": data, "fsdp": fsdp}
        train = {"batch_size": MOST, "grad_accum": ROWS // MOST}
        self.config: Config = tiny_config(backend, model=model, train=train, **sections)
        self.placement: Placement = place_on(self.config, jax.devices()[: data * fsdp])
        self.model_def, self.optimizer, _ = parts(self.config, self.placement)
        self.accum = micro_batches(self.config, self.placement.count)
        self.like: TrainState = abstract_state(self.model_def, self.optimizer)

    @functools.cached_property
    def program(self) -> Any:
        """The compiled step."""
        step = make_train_step(self.model_def, self.optimizer, self.config, self.placement)
        like, batch = self.like, abstract_batch((self.accum, ROWS // self.accum, SEQ))
        if self.placement.mesh is not None:
            like, batch = self.placement.abstract(like), self.placement.abstract_rows(batch)
        return compile_train_step(step, like, batch)

    def start(self) -> TrainState:
        """The state at step 0."""
        return init_state(self.model_def, self.optimizer, 0, self.placement)

    def batch(self, number: int) -> Batch:
        """A batch as the data pipeline makes it, on the mesh."""
        made = packed_batch(number, accum=ROWS // MOST, rows=MOST)
        placed: Batch = self.placement.place(made, self.accum)
        return placed

    def train(self, state: TrainState, first: int, last: int) -> tuple[TrainState, list[float], int]:
        """The state after the steps [first, last), their losses, and the tokens of all."""
        losses, tokens = [], 0
        for number in range(first, last):
            state, metrics = self.program(state, self.batch(number))
            losses.append(float(metrics.loss))
            tokens += int(metrics.tokens)
        return state, losses, tokens


def digest(tree: Any) -> str:
    """Of all bits of a tree."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def curve(run: Run, steps: int) -> dict[str, Any]:
    """Losses of all steps, the tokens, and digests of the first and the last state."""
    state = run.start()
    first = digest(state.params)
    state, losses, tokens = run.train(state, 0, steps)
    return {"losses": losses, "tokens": tokens, "first": first, "last": digest(state)}


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw", "lr": 3e-3},
    "lion": {"name": "lion", "lr": 3e-4},
    "muon": {"name": "muon", "lr": 3e-3},
}


@functools.cache
def run_of(backend: str, mesh: str, optimizer: str) -> Run:
    """A run, whose step is compiled once."""
    return Run(backend, mesh, optim=OPTIMIZERS[optimizer])


def curves(steps: str, backend: str, optimizer: str, *meshes: str) -> dict[str, Any]:
    """Curves on one device and on meshes, the last of them twice."""
    runs = {mesh: run_of(backend, mesh, optimizer) for mesh in ("one", *meshes)}
    found = {mesh: curve(run, int(steps)) for mesh, run in runs.items()}
    return found | {"again": curve(runs[meshes[-1]], int(steps))}


def collectives(backend: str, mesh: str) -> dict[str, Any]:
    """What the program of a step with four micro-batches sends, by kind and by whether it is inside the loop."""
    run = run_of(backend, mesh, "adamw")
    assert run.accum == 4
    inside, outside, scattered = collections.Counter[str](), collections.Counter[str](), 0
    computation = ""
    for line in run.program.as_text().splitlines():
        if line.endswith("{") and not line.startswith(" "):
            computation = line.split()[0]
        kind = next((kind for kind in KINDS if f" {kind}(" in line or f" {kind}-start(" in line), None)
        if kind is None:
            continue
        (outside if computation == "ENTRY" else inside)[kind] += 1
        if kind == "reduce-scatter":
            dimensions = line.split("[", 1)[1].split("]", 1)[0]
            scattered += int(np.prod([int(size) for size in dimensions.split(",")]))
    state = jax.tree.leaves(run.like)
    cut = [leaf.size for leaf in jax.tree.leaves(run.like.params) if run.placement.cut_axis(leaf.shape) >= 0]
    return {
        "inside": inside,
        "outside": outside,
        "scattered": scattered,
        "cut": sum(cut),
        "arguments": run.program.memory_analysis().argument_size_in_bytes,
        "state": sum(leaf.size * leaf.dtype.itemsize for leaf in state),
        "batch": ROWS // 8 * SEQ * 13,
    }


KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


def muon(dtype: str) -> dict[str, Any]:
    """Muon's directions for the same gradients: the largest distance of a mesh's from one device's, and the largest."""
    found: dict[str, list[np.ndarray]] = {}
    kept: dict[str, list[np.ndarray]] = {}
    for mesh in MESHES:
        run = Run("llama", mesh, optim={"name": "muon", "muon": {"ns_dtype": dtype}}, model={"num_layers": 1})
        params = run.start().params
        group, *_ = build(run.config.optim, embedding_of(params, run.model_def.embedding_path), run.placement)
        # Without the factor of the shape, which the compiler joins with what comes before.
        rule = optax.chain(*group.direction[:-1])
        matrices = [leaf for leaf in jax.tree.leaves(params.blocks) if leaf.ndim == 2]
        state, update = rule.init(matrices), jax.jit(lambda grads, state, rule=rule: rule.update(grads, state))
        for seed in range(2):
            updates, state = update(_random_like(matrices, seed), state)
        found[mesh] = [np.asarray(leaf) for leaf in updates]
        kept[mesh] = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    pairs = [(mesh, one, other) for mesh in MESHES for one, other in zip(found["one"], found[mesh], strict=True)]
    return {
        "apart": max(float(np.abs(one - other).max()) for _, one, other in pairs),
        "largest": max(float(np.abs(one).max()) for one in found["one"]),
        "same momentum": all(digest(kept[mesh]) == digest(kept["one"]) for mesh in MESHES),
        "same bits on all meshes": len({digest(found[mesh]) for mesh in MESHES if mesh != "one"}) == 1,
    }


def _random_like(params: Any, seed: int) -> Any:
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    made = [jax.device_put(rng.normal(size=leaf.shape).astype(np.float32), leaf.sharding) for leaf in leaves]
    return jax.tree.unflatten(structure, made)


def weights(mesh: str) -> dict[str, Any]:
    """Weights of files on a mesh: the state that begins with them, where it lies, and how often numbers were read."""
    data, fsdp = MESHES[mesh]
    with tempfile.TemporaryDirectory() as name:
        folder = hub_folder(Path(name), shards=2, hidden_size=64, intermediate_size=128, num_hidden_layers=1)
        write_shards(folder, tensors(json.loads((folder / "config.json").read_text())), 2)
        model = {"init_from": name, "init_vocab": "extend", "vocab_size": 64}
        sections = {"model": model, "parallel": {"data": data, "fsdp": fsdp}, "train": {"grad_accum": 8}}
        config = parse_config(json.dumps(sections), source="c.yaml").config
        plan = build_blueprint(config, "cpu", placement=place_on(config, jax.devices()[: data * fsdp]))
        read: list[int] = []
        part = Tensor.part

        def counted(tensor: Tensor, index: tuple[slice, ...]) -> np.ndarray:
            found = part(tensor, index)
            read.append(found.size)
            return found

        with mock.patch.object(Tensor, "part", counted):
            state = plan.first_state()
    leaves = jax.tree.leaves(state)
    places = [plan.placement.sharding(leaf.shape) for leaf in leaves]
    return {
        "digest": digest(state),
        "in place": all(
            leaf.sharding.is_equivalent_to(one, leaf.ndim) for leaf, one in zip(leaves, places, strict=True)
        ),
        "read": sum(read),
        "most at once": max(read),
    }


def policies(backend: str) -> dict[str, Any]:
    """Losses of three steps on a mesh under each policy of recomputation."""
    model = {"compute_dtype": "float32", "num_layers": 1}
    runs = {name: Run(backend, "both", optim=OPTIMIZERS["adamw"], model={**model, "remat": name}) for name in POLICIES}
    return {name: run.train(run.start(), 0, 3)[1] for name, run in runs.items()}


EXPERIMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "curves": curves, "collectives": collectives, "muon": muon, "weights": weights, "policies": policies,
}  # fmt: skip

if __name__ == "__main__":
    compile_quickly()
    for asked in sys.argv[1:]:
        name, *arguments = asked.split(":")
        print(json.dumps({asked: EXPERIMENTS[name](*arguments)}), flush=True)
