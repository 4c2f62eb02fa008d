"""Sums over a batch whose rows are shared out over a mesh.

Each device runs the one-device program on its own rows, in `jax.shard_map`: the moving average's loop, attention and
the head's chunks stay on a device. Were the compiler left to cut the program by where its arrays lie, it would gather
the parameters before the loop over micro-batches and hold all of them, and move activations too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from chomp.parallel.gather import is_shard, shards
from chomp.parallel.mesh import AXES, Placement

DtypeOf = Callable[[Any, Any], Any]
"""(path, leaf) -> the dtype in which a parameter is gathered."""


def gradient_sums_on_mesh(sums: Callable[..., Any], placement: Placement, dtype_of: DtypeOf) -> Callable[..., Any]:
    """The same sums over all devices: what is measured on every device, the gradients where the parameters lie.

    Copies of a parameter are summed once, after the loop over micro-batches.

    Args:
        sums: (params, inputs, counts, key) -> (measured, gradients) over the rows that it is given, whose parameters
            may be `Shard`.
    """

    def on_device(axes: PyTree, params: PyTree, inputs: PyTree, counts: PyTree, key: Any) -> tuple[PyTree, PyTree]:
        own_key = jax.random.fold_in(key, jax.lax.axis_index(AXES))
        parts = shards(params, axes, placement.fsdp, dtype_of)
        measured, grads = sums(parts, inputs, counts, own_key)
        # The gradient of a part is already the sum over the devices that share its parameter.
        grads = jax.tree.map(
            lambda grad: jax.lax.psum(grad.part, "data") if is_shard(grad) else jax.lax.psum(grad, AXES),
            grads,
            is_leaf=is_shard,
        )
        return jax.lax.psum(measured, AXES), grads

    def on_mesh(params: PyTree, inputs: PyTree, counts: PyTree, key: Any) -> tuple[PyTree, PyTree]:
        specs = jax.tree.map(lambda leaf: placement.spec(leaf.shape), params)
        everywhere = PartitionSpec()
        return jax.shard_map(
            lambda *given: on_device(cut_axes(params, placement), *given),
            mesh=placement.mesh,
            in_specs=(specs, placement.rows(), everywhere, everywhere),
            out_specs=(everywhere, specs),
            # Gradients of what every device holds are made equal by sums that its analysis does not know.
            check_vma=False,
        )(params, inputs, counts, key)

    return on_mesh


def eval_sums_on_mesh(sums: Callable[..., Any], placement: Placement, dtype_of: DtypeOf) -> Callable[..., Any]:
    """(params, batch) -> numbers of a batch `[rows, seq]`, of which each device scores its own rows.

    Args:
        sums: the same on one device; its parameters may be `Shard`. Scalars of its result are added up over devices,
            other arrays have a first axis of rows.
    """

    def on_device(axes: PyTree, params: PyTree, batch: PyTree) -> PyTree:
        found = sums(shards(params, axes, placement.fsdp, dtype_of), batch)
        return jax.tree.map(lambda value: value if value.ndim else jax.lax.psum(value, AXES), found)

    def on_mesh(params: PyTree, batch: PyTree) -> PyTree:
        specs = jax.tree.map(lambda leaf: placement.spec(leaf.shape), params)
        numbers = jax.eval_shape(sums, params, batch)
        return jax.shard_map(
            lambda *given: on_device(cut_axes(params, placement), *given),
            mesh=placement.mesh,
            in_specs=(specs, PartitionSpec(AXES)),
            out_specs=jax.tree.map(lambda value: PartitionSpec(AXES) if value.ndim else PartitionSpec(), numbers),
            check_vma=False,
        )(params, batch)

    return on_mesh


def cut_axes(params: PyTree, placement: Placement) -> PyTree:
    """Which axis of each parameter is cut, -1 for none."""
    return jax.tree.map(lambda leaf: placement.cut_axis(leaf.shape), params)
