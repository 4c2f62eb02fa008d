"""Compiling the training step for a GPU that is not in this machine.

XLA compiles for a description of a device instead of a device (`jax.experimental.topologies`; JAX tests it in
`tests/aot_test.py`). The CUDA wheels bring the compiler; no driver is needed. Kernels are not tuned, as there is no
device to run them on, and the scratch space of cuBLAS and cuDNN is not in the account. Several devices are those of one
machine.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from dataclasses import dataclass

import jax
from jax.experimental import topologies

from chomp.analysis.structure import Structure, read_structure
from chomp.device.cards import HOW_TO_INSTALL, Card
from chomp.errors import DeviceError
from chomp.parallel.mesh import place_on
from chomp.step.train_step import compile_lowered, lower_train_step
from chomp.train.blueprint import Blueprint
from chomp.train.compilation import abstract_batch, memory_account
from chomp.train.hlo import read_module

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


@dataclass(frozen=True)
class CardProgram:
    """The training step, compiled for cards.

    Attributes:
        blueprint: what was compiled, on the mesh of these cards.
        memory: XLA's own account in bytes on each card, see `memory_account`.
        structure: of what one card does.
        flags: options without which it did not compile.
    """

    card: Card
    blueprint: Blueprint
    seconds: float
    memory: dict[str, int]
    structure: Structure
    flags: dict[str, bool]

    @property
    def mfu_bound(self) -> float:
        """Model FLOPs utilization that none of the card's bounds forbids."""
        blueprint = self.blueprint
        step = blueprint.flops_per_token * blueprint.derived.tokens_per_step
        return self.structure.mfu_bound(self.card, step / blueprint.placement.count)


def has_compiler() -> bool:
    """Whether the CUDA wheels are installed."""
    return any(importlib.util.find_spec(name) for name in PLUGINS)


def compile_for(card: Card, blueprint: Blueprint, count: int = 1) -> CardProgram:
    """Compile the training step of a blueprint that is built for the platform `gpu`.

    Args:
        count: cards in one machine, on which the mesh of the configuration lies.

    Raises:
        ConfigError: so many devices do not fit the mesh or the rows of a step.
        DeviceError: the CUDA wheels are missing, or XLA cannot compile the step for this card.
    """
    if not has_compiler():
        raise DeviceError(f"compiling for {card.name} needs the CUDA compiler: {HOW_TO_INSTALL}")
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=card.target_config(), topology=f"1x1x{count}"
    )
    placement = place_on(blueprint.config, topology.devices)
    blueprint = dataclasses.replace(blueprint, placement=placement)
    state, batch = blueprint.state, abstract_batch(blueprint.batch_shape, mixture=blueprint.derived.mixture)
    if placement.mesh is None:
        place = jax.sharding.SingleDeviceSharding(topology.devices[0])
        state, batch = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), (state, batch)
        )
    else:
        state, batch = placement.abstract(state), placement.abstract_rows(batch)
    lowered = lower_train_step(blueprint.train_step(), state, batch)
    started = time.monotonic()
    try:
        program, flags = compile_lowered(lowered)
    except jax.errors.JaxRuntimeError as error:
        raise DeviceError(f"XLA cannot compile the step for {card.name}: {error}") from error
    executable = program.runtime_executable()
    assert executable is not None
    structure = read_structure(read_module(executable.hlo_modules()[0].as_serialized_hlo_module_proto()))
    return CardProgram(card, blueprint, time.monotonic() - started, memory_account(program), structure, flags)
