"""Attempts of one run on different meshes, in this process or as one of several: each prints what it computed, as JSON.

`python -m tests.parallel.resharding CORPUS CHECKPOINTS ATTEMPT… [INDEX PORT]`; an attempt is DATAxFSDP:FROM:TO:LABEL,
which trains on the first DATA x FSDP devices from the checkpoint of step FROM (0: from the start) to step TO, and saves
steps 10 and 30 if it has a label, in CHECKPOINTS/LABEL; FROM is then read from the label before.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from chomp.checkpoint.items import to_items
from chomp.checkpoint.restore import choose, restore
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.store import CheckpointStore
from chomp.config.validate import config_from_dict
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.parallel.mesh import place_on
from chomp.parallel.world import World
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import CompileWatch, compile_step
from chomp.train.program import RunProgram, compile_only
from tests.compiling import compile_quickly
from tests.engine import dummy_config
from tests.parallel.saving import join

# Wide enough that most matrices are cut.
MODEL = {
    "backend": "llama", "model_dim": 64, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "ffn_hidden_dim": 128,
    "compute_dtype": "float32",
}  # fmt: skip
SAVED = (10, 30)


class Trained:
    """The run on one mesh, its program kept in a folder, and loaded from there the next time.

    Attributes:
        in_run: whether it was kept or loaded.
    """

    def __init__(self, corpus: Path, data: int, fsdp: int, programs: Path | None = None):
        values = dummy_config(corpus, train={"batch_size": 4, "grad_accum": 2})
        config = config_from_dict({**values, "model": MODEL, "parallel": {"data": data, "fsdp": fsdp}})
        tokenizer = build_tokenizer(config.data.tokenizer)
        placement = place_on(config, jax.devices()[: data * fsdp])
        self.blueprint: Blueprint = build_blueprint(config, "cpu", tokenizer, placement)
        self.data: DataPipeline = build_data(self.blueprint.config, self.blueprint.derived, tokenizer)
        made = self.blueprint.train_step(), self.blueprint.state, self.blueprint.batch_shape
        path = programs / f"{data}x{fsdp}" if programs is not None else None
        obtain = RunProgram(path, placement=placement).obtain if path is not None else compile_only
        compiled = compile_step(*made, CompileWatch(), obtain, placement, mixture=False)
        self.step, self.in_run = compiled.step, compiled.in_run

    def attempt(self, source: CheckpointStore | None, first: int, last: int, saves: CheckpointStore | None) -> Any:
        """Losses, digests of the batches, and that of the last state; of several processes, of this one's part."""
        state, batches = self.blueprint.first_state(), self.data.train_iterator()
        first_bits = digest(state)
        if first:
            assert source is not None
            info, _ = choose(source.common_infos(), first, source.verify)
            assert info is not None
            state, position = restore(info, self.blueprint.state, self.blueprint.placement)
            batches.set_state(position)
        losses, read, tokens = [], [], 0
        for step in range(first + 1, last + 1):
            batch = next(batches)
            read.append(digest(batch))
            state, metrics = self.step(state, self.blueprint.placement.place(batch, self.blueprint.accum))
            losses.append(float(metrics.loss))
            tokens += int(metrics.tokens)
            if saves is not None and step in SAVED:
                saves.save(step, to_items(state), batches.get_state(), {"step": step}, wait=False)
        if saves is not None:
            saves.wait()
            assert saves.take_failure() is None
        batches.close()
        said = {"losses": losses, "batches": read, "tokens": tokens, "first": first_bits, "last": digest(state)}
        return said | {"in_run": self.in_run}


def digest(tree: Any) -> str:
    """Of all bits of a tree, as far as they are in this process."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        parts = leaf.addressable_shards if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable else None
        for array in [leaf] if parts is None else [part.data for part in parts]:
            found.update(np.asarray(array).tobytes())
    return found.hexdigest()


def store(folder: Path, world: World | None = None) -> CheckpointStore:
    made = CheckpointStore(folder, retention=Retention(9), on_event=lambda event: None, world=world)
    made.prepare()
    return made


def attempts(corpus: Path, checkpoints: Path, asked: list[str], world: World | None = None) -> None:
    programs = checkpoints.parent / "programs" if world is None or world.is_alone else None
    source: CheckpointStore | None = None
    for each in asked:
        mesh, first, last, label = each.split(":")
        data, fsdp = map(int, mesh.split("x"))
        saves = store(checkpoints / label, world) if label else None
        if source is None and int(first):
            source = store(checkpoints / "fsdp8", world)
        found = Trained(corpus, data, fsdp, programs).attempt(source, int(first), int(last), saves)
        print(json.dumps({each: found}), flush=True)
        source = saves or source


def main(corpus: str, checkpoints: str, *rest: str) -> None:
    asked, place = [each for each in rest if ":" in each], [each for each in rest if ":" not in each]
    world = join(*map(int, place)) if place else World()
    attempts(Path(corpus), Path(checkpoints), asked, world)
    world.leave()


if __name__ == "__main__":
    compile_quickly()
    main(*sys.argv[1:])
