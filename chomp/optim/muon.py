"""Muon (Jordan 2024), scaled by each matrix's shape, beside another rule."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from chomp.config.optim import MuonConfig, OptimConfig
from chomp.optim.conditional import conditional
from chomp.optim.dealt import Axes, dealt_muon, momentum
from chomp.optim.groups import Embedding, Group, Parameter, build_groups, by_parameter
from chomp.optim.newton_schulz import normalised, orthogonalised
from chomp.parallel.mesh import Placement

PROJECTIONS = (
    "attn.wz", "attn.wv", "attn.wr", "attn.wh1", "attn.wh2", "ffn.fc1", "ffn.fc2", "ffn.fc3", "lm_head",
    "attn.wq", "attn.wk", "attn.wo", "ffn.gate", "ffn.up", "ffn.down", "transform",
)  # fmt: skip
"""Linear layers whose weight matrices Muon takes: the last names of a parameter's path before `weight`."""


def build(optim: OptimConfig, embedding: Embedding, placement: Placement) -> tuple[Group, ...]:
    """Build Muon's group for the projections, and those of `optim.muon.rest` for the rest."""
    muon = optim.muon
    axes = by_parameter(lambda parameter: axes_of(parameter, embedding))
    on_mesh = placement.mesh is not None
    direction = dealt_muon(muon, axes, placement) if on_mesh else _momentum(muon, axes)
    # Without a state, but with a place in the nesting of the optimizer's state.
    orthogonal = () if muon.ns_dtype == "float32" else (_orthogonalised(muon, axes, done=on_mesh),)
    factors = by_parameter(lambda parameter: _shape_factor(parameter, embedding, muon.consistent_rms))
    scaled = optax.stateless(lambda grads, _: jax.tree.map(jnp.multiply, grads, factors(grads)))
    group = Group(
        "muon",
        (conditional(direction), *orthogonal, scaled),
        optim.lr * muon.lr_scale,
        optim.weight_decay * muon.weight_decay_mult,
        takes=lambda parameter: _takes(parameter, embedding, muon),
    )
    return (group, *build_groups(muon.rest, optim, embedding, placement))


def _momentum(muon: MuonConfig, axes: Axes) -> optax.GradientTransformation:
    """Muon in fp32; in another dtype its momentum, divided by its norm, which is all that no steps do."""

    def rule(steps: int) -> optax.GradientTransformation:
        return scale_by_muon(ns_steps=steps, beta=muon.momentum, nesterov=muon.nesterov, weight_dimension_numbers=axes)

    if muon.ns_dtype != "float32":
        return rule(0)
    whole = rule(muon.ns_steps)

    def on_cpu(grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        mean, new = momentum(grads, state, muon)
        return jax.tree.map(lambda x: orthogonalised(normalised(x), muon.ns_steps), mean), new

    def update(grads: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        found: tuple[PyTree, Any] = jax.lax.platform_dependent(grads, state, cpu=on_cpu, default=whole.update)
        return found

    return optax.GradientTransformation(whole.init, update)


def _orthogonalised(muon: MuonConfig, axes: Axes, *, done: bool) -> optax.GradientTransformation:
    """Newton-Schulz iterations in another dtype; Muon without momentum is those alone.

    Matrices of one shape are iterated together: a GPU is launched once for all layers, and is filled.

    Args:
        done: the rule before has iterated already.
    """
    steps, dtype = muon.ns_steps, muon.ns_dtype

    def orthogonalise(updates: PyTree, params: PyTree) -> PyTree:
        matrices, tree = jax.tree.flatten(updates)
        numbers = jax.tree.leaves(axes(updates), is_leaf=lambda node: isinstance(node, MuonDimensionNumbers))
        kinds = [(matrix.shape, both) for matrix, both in zip(matrices, numbers, strict=True)]
        for kind in dict.fromkeys(kinds):
            places = [place for place, other in enumerate(kinds) if other == kind]
            found = iterated(jnp.stack([matrices[place].astype(dtype) for place in places]), kind[1])
            for place, new in zip(places, found, strict=True):
                matrices[place] = new.astype(matrices[place].dtype)
        return jax.tree.unflatten(tree, matrices)

    def iterated(stack: Float[Array, "matrices rows columns"], numbers: MuonDimensionNumbers) -> Array:
        inside = MuonDimensionNumbers(*(axis + 1 for axis in numbers))
        rule = scale_by_muon(ns_steps=steps, beta=0.0, nesterov=False, weight_dimension_numbers=inside)
        found: Array = rule.update(stack, rule.init(stack))[0]
        return found

    return optax.identity() if done else optax.stateless(orthogonalise)


def _takes(parameter: Parameter, embedding: Embedding, muon: MuonConfig) -> bool:
    if len(parameter.shape) != 2:
        return False
    if embedding.tied and parameter.path == embedding.path:
        return muon.allow_tied_embed
    return muon.allow_all_2d or any(map(parameter.is_weight_of, PROJECTIONS))


def axes_of(parameter: Parameter, embedding: Embedding) -> MuonDimensionNumbers:
    """Return the axes that a matrix maps from and to.

    A linear layer's weight is stored [outputs, inputs]; an embedding's is [ids, width] and is read by row.
    """
    inputs, outputs = (0, 1) if parameter.path == embedding.path else (1, 0)
    return MuonDimensionNumbers(reduction_axis=inputs, output_axis=outputs)


def _shape_factor(parameter: Parameter, embedding: Embedding, consistent_rms: float | None) -> float:
    """Return what an orthogonal matrix is multiplied by.

    Without `consistent_rms`, sqrt(max(1, outputs / inputs)), which keeps the output's size whatever the width
    (github.com/KellerJordan/Muon); with it, sqrt(max(outputs, inputs)) times it, which gives every update that root
    mean square (Liu et al. 2025, arXiv 2502.16982).
    """
    axes = axes_of(parameter, embedding)
    inputs, outputs = parameter.shape[axes.reduction_axis], parameter.shape[axes.output_axis]
    if consistent_rms is None:
        return math.sqrt(max(1.0, outputs / inputs))
    return math.sqrt(max(outputs, inputs)) * consistent_rms
