"""Compiles a step for a mesh of virtual devices, and prints what XLA and the estimate say of each device's memory.

JAX_NUM_CPU_DEVICES=8 python -m tests.parallel.compiled_memory MODEL DATA FSDP [KEY=VALUE]…
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import yaml

from chomp.analysis.structure import read_structure
from chomp.config import Config, parse_config
from chomp.parallel.mesh import place_on
from chomp.step.train_step import lower_train_step
from chomp.train.blueprint import build_blueprint
from chomp.train.compilation import abstract_batch, memory_account
from chomp.train.footprint import bytes_on_device, estimate_memory
from chomp.train.hlo import read_module

WIDE = {"model_dim": 128, "num_layers": 2, "num_heads": 2, "ffn_hidden_dim": 256, "vocab_size": 2048}
MODELS = {
    "llama": {"backend": "llama", **WIDE},
    "megalodon": {"backend": "megalodon", **WIDE, "z_dim": 64, "value_dim": 128, "cema_ndim": 4, "chunk_size": 32},
}


def configuration(model: str, data: int, fsdp: int, *changes: str) -> Config:
    settings = {name: yaml.safe_load(value) for name, value in (each.split("=") for each in changes)}
    values = {
        "model": {**MODELS[model], "loss_chunk_size": 64, **settings},
        "train": {"seq_len": 64, "batch_size": 2, "grad_accum": 16, "steps": 10, "allow_cpu": True},
        "optim": {"name": "adamw", "warmup_steps": 1},
        "parallel": {"data": data, "fsdp": fsdp},
    }
    return parse_config(json.dumps(values), source="test").config


def figures(model: str, data: int, fsdp: int, *changes: str) -> dict[str, Any]:
    """One case; changes are settings of the model."""
    config = configuration(model, data, fsdp, *changes)
    placement = place_on(config, jax.devices())
    blueprint = build_blueprint(config, "cpu", placement=placement)
    state, batch = placement.abstract(blueprint.state), placement.abstract_rows(abstract_batch(blueprint.batch_shape))
    program = lower_train_step(blueprint.train_step(), state, batch).compile()
    executable = program.runtime_executable()
    assert executable is not None
    module = read_module(executable.hlo_modules()[0].as_serialized_hlo_module_proto())
    structure = read_structure(module)
    return {
        "compiled": memory_account(program),
        "estimate": estimate_memory(blueprint).as_dict(),
        "state": bytes_on_device(blueprint.state, placement),
        "whole": bytes_on_device(blueprint.state),
        "batch": bytes_on_device(batch) // placement.count,
        "cut": sum(
            leaf.size for leaf in jax.tree.leaves(blueprint.state.params) if placement.cut_axis(leaf.shape) >= 0
        ),
        "accum": blueprint.accum,
        "collectives": {kind: [each.calls, each.bytes] for kind, each in structure.collectives.items()},
    }


if __name__ == "__main__":
    print(json.dumps(figures(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])))
