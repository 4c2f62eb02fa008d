"""Muon on a mesh: its matrices are dealt out, and each device orthogonalises its own.

Cut along an axis, a matrix would be gathered or summed in each product of each iteration. Here matrices of one shape
are put on a stack that is cut by matrices: a device receives whole ones, iterates, and sends them back (all-to-all).
The work is shared out, and each matrix is computed whole, as on one device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PyTree
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from chomp.config.optim import MuonConfig
from chomp.optim.newton_schulz import normalised, orthogonalised
from chomp.parallel.gather import AXIS
from chomp.parallel.mesh import AXES, Placement

Axes = Callable[[PyTree], PyTree]
"""Updates -> the axes of each matrix."""


def dealt_muon(muon: MuonConfig, axes: Axes, placement: Placement) -> optax.GradientTransformation:
    """Muon's momentum, then its iterations on matrices that are dealt out; the state is that of one device."""
    whole = scale_by_muon(ns_steps=0, beta=muon.momentum, nesterov=muon.nesterov, weight_dimension_numbers=axes)

    def update(grads: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        mean, new = momentum(grads, state, muon)
        return _dealt(mean, axes, muon, placement), new

    return optax.GradientTransformation(whole.init, update)


def momentum(grads: PyTree, state: Any, muon: MuonConfig) -> tuple[PyTree, Any]:
    """Muon's momentum and its next state, as in `scale_by_muon`, which divides by the norm of each matrix at once."""
    mu = optax.tree.update_moment(grads, state.mu, muon.momentum, 1)
    count = optax.safe_increment(state.count)
    mean = optax.tree.bias_correction(mu, muon.momentum, count)
    if muon.nesterov:
        ahead = optax.tree.bias_correction(mu, muon.momentum, optax.safe_increment(count))
        now = optax.tree.bias_correction(grads, muon.momentum, count)
        mean = jax.tree.map(lambda ahead, now: muon.momentum * ahead + (1 - muon.momentum) * now, ahead, now)
    return mean, state._replace(count=count, mu=mu)


def _dealt(matrices: PyTree, axes: Axes, muon: MuonConfig, placement: Placement) -> PyTree:
    leaves, tree = jax.tree.flatten(matrices)
    numbers = jax.tree.leaves(axes(matrices), is_leaf=lambda node: isinstance(node, MuonDimensionNumbers))
    kinds = [(leaf.shape, both) for leaf, both in zip(leaves, numbers, strict=True)]
    for kind in dict.fromkeys(kinds):
        places = [place for place, other in enumerate(kinds) if other == kind]
        found = _orthogonalised([leaves[place] for place in places], kind[1], muon, placement)
        for place, new in zip(places, found, strict=True):
            leaves[place] = new
    return jax.tree.unflatten(tree, leaves)


def _orthogonalised(
    matrices: list[Float[Array, "rows columns"]], numbers: MuonDimensionNumbers, muon: MuonConfig, placement: Placement
) -> list[Float[Array, "rows columns"]]:
    """Matrices of one shape, orthogonalised by the devices in turn."""
    shape = matrices[0].shape
    spec, cut = placement.spec(shape), placement.cut_axis(shape)
    spare = -len(matrices) % placement.count

    def on_device(*parts: Array) -> Array:
        stack = jnp.stack([*parts, *[jnp.zeros_like(parts[0])] * spare])
        # The barrier keeps the sum of the norm out of the exchange's loops, where it would be in another order.
        own = jax.lax.optimization_barrier(_received(stack, cut, placement))
        return _returned(_iterations(own, numbers, muon).astype(stack.dtype), cut, placement)

    found = jax.shard_map(
        on_device,
        mesh=placement.mesh,
        in_specs=(spec,) * len(matrices),
        out_specs=PartitionSpec(None, *spec),
        check_vma=False,
    )(*matrices)
    return [found[place] for place in range(len(matrices))]


def _received(stack: Float[Array, "matrices ..."], cut: int, placement: Placement) -> Float[Array, "own rows columns"]:
    """A device's own matrices of a stack, whole.

    Args:
        cut: the axis along which devices share a matrix, -1 if each holds all of it.
    """
    axes = AXES if cut < 0 else "data"
    share = len(stack) // (placement.count if cut < 0 else placement.data)
    stack = jax.lax.dynamic_slice_in_dim(stack, jax.lax.axis_index(axes) * share, share)
    if cut < 0:
        return stack
    return jax.lax.all_to_all(stack, AXIS, split_axis=0, concat_axis=cut + 1, tiled=True)


def _returned(own: Float[Array, "own rows columns"], cut: int, placement: Placement) -> Float[Array, "matrices ..."]:
    """The inverse of `_received`."""
    if cut < 0:
        return jax.lax.all_gather(own, AXES, tiled=True)
    parts = jax.lax.all_to_all(own, AXIS, split_axis=cut + 1, concat_axis=0, tiled=True)
    return parts if placement.data == 1 else jax.lax.all_gather(parts, "data", tiled=True)


def _iterations(stack: Float[Array, "own rows columns"], numbers: MuonDimensionNumbers, muon: MuonConfig) -> Array:
    """Newton-Schulz iterations of several matrices on one device, in the dtype of `optim.muon.ns_dtype`."""
    inside = MuonDimensionNumbers(*(axis + 1 for axis in numbers))

    def iterated(stack: Array, steps: int) -> Array:
        # Without momentum, which is done, the rule is its iterations alone.
        rule = scale_by_muon(ns_steps=steps, beta=0.0, nesterov=False, weight_dimension_numbers=inside)
        found: Array = rule.update(stack, rule.init(stack))[0]
        return found

    def on_cpu(stack: Array) -> Array:
        return orthogonalised(normalised(stack), muon.ns_steps)

    if muon.ns_dtype == "float32":
        found: Array = jax.lax.platform_dependent(
            stack, cpu=on_cpu, default=lambda stack: iterated(stack, muon.ns_steps)
        )
        return found
    # Divided by its norm first, as on one device.
    return iterated(iterated(stack, 0).astype(muon.ns_dtype), muon.ns_steps)
