"""Compiling the training step for a GPU that is not in this machine.

XLA compiles for a description of a device instead of a device (`jax.experimental.topologies`; JAX tests it in
`tests/aot_test.py`). The CUDA wheels bring the compiler; no driver is needed. Kernels are not tuned, as there is no
device to run them on, and the scratch space of cuBLAS and cuDNN is not in the account.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass

import jax
from jax.experimental import topologies

from chomp.analysis.hlo import read_module
from chomp.analysis.structure import Structure, read_structure
from chomp.device.cards import HOW_TO_INSTALL, Card
from chomp.errors import DeviceError
from chomp.step.train_step import compile_lowered, lower_train_step
from chomp.train.blueprint import Blueprint
from chomp.train.compilation import abstract_batch, memory_account

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


@dataclass(frozen=True)
class CardProgram:
    """The training step, compiled for a card.

    Attributes:
        memory: XLA's own account in bytes, see `memory_account`.
        flags: options without which it did not compile.
    """

    card: Card
    seconds: float
    memory: dict[str, int]
    structure: Structure
    flags: dict[str, bool]


def has_compiler() -> bool:
    """Whether the CUDA wheels are installed."""
    return any(importlib.util.find_spec(name) for name in PLUGINS)


def compile_for(card: Card, blueprint: Blueprint) -> CardProgram:
    """Compile the training step of a blueprint that is built for the platform `gpu`.

    Raises:
        DeviceError: the CUDA wheels are missing, or XLA cannot compile the step for this card.
    """
    if not has_compiler():
        raise DeviceError(f"compiling for {card.name} needs the CUDA compiler: {HOW_TO_INSTALL}")
    topology = topologies.get_topology_desc(platform="cuda", target_config=card.target_config(), topology="1x1x1")
    place = jax.sharding.SingleDeviceSharding(topology.devices[0])
    state, batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        (blueprint.state, abstract_batch(blueprint.batch_shape)),
    )
    lowered = lower_train_step(blueprint.train_step(), state, batch)
    started = time.monotonic()
    try:
        program, flags = compile_lowered(lowered)
    except jax.errors.JaxRuntimeError as error:
        raise DeviceError(f"XLA cannot compile the step for {card.name}: {error}") from error
    executable = program.runtime_executable()
    assert executable is not None
    module = read_module(executable.hlo_modules()[0].as_serialized_hlo_module_proto())
    return CardProgram(card, time.monotonic() - started, memory_account(program), read_structure(module), flags)
