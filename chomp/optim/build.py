"""Make the update rule from its configuration: AdamW, Lion, or Muon beside one of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree
from optax.contrib import scale_by_muon

from chomp.config.derive import Derived
from chomp.config.optim import OptimConfig
from chomp.optim.conditional import keeping, keeping_adam
from chomp.optim.groups import Assignment, GroupName, Rule, assignments, make_rule, tree_of
from chomp.optim.schedule import Count, Schedule, make_schedule


@dataclass(frozen=True)
class GroupRow:
    """One line of the table of parameter groups: its tensors share a peak learning rate and a decay."""

    group: GroupName
    tensors: int
    parameters: int
    peak_lr: float
    weight_decay: float


@dataclass(frozen=True)
class Optimizer:
    """An update rule over a parameter tree.

    Attributes:
        transform: gradients -> updates to add; its state is arrays only. Clipping is the step's. `update` takes
            `applied`, and where that is false the state stays as it is (`chomp.optim.conditional`).
        schedules: learning rate of each group in use, by the number of updates applied.
        assigned: what each parameter gets.
        rows: the same, summed up by group and decay.
    """

    transform: optax.GradientTransformationExtraArgs
    schedules: Mapping[GroupName, Schedule]
    assigned: tuple[Assignment, ...]
    rows: tuple[GroupRow, ...]

    def lr(self, count: Count) -> dict[str, Float[Array, ""]]:
        """Return the rates of the update after `count` ones: `lr`, and `lr_muon` (equal to `lr` without Muon)."""
        base = next(schedule for group, schedule in self.schedules.items() if group != "muon")(count)
        muon = self.schedules.get("muon")
        return {"lr": base, "lr_muon": base if muon is None else muon(count)}

    def describe(self) -> str:
        """Return the table of parameter groups as text, one line each under a heading."""
        lines = [f"{'group':<6} {'tensors':>7} {'parameters':>14} {'peak lr':>10} {'decay':>8}"]
        lines += [
            f"{row.group:<6} {row.tensors:>7} {row.parameters:>14,} {row.peak_lr:>10.3g} {row.weight_decay:>8.3g}"
            for row in self.rows
        ]
        return "\n".join(lines)


def build_optimizer(optim: OptimConfig, derived: Derived, params: PyTree, *, embedding_path: str) -> Optimizer:
    """Make the update rule for a model.

    Args:
        optim: the optim section.
        derived: numbers the schedule needs.
        params: the model's parameters or their shapes (`ModelDef.abstract()`).
        embedding_path: `ModelDef.embedding_path`.
    """
    rule = make_rule(optim, params, embedding_path)
    rest = rule.rest
    peaks: dict[GroupName, float] = {rest: optim.lr}
    decays: dict[GroupName, float] = {rest: optim.weight_decay}
    if optim.name == "muon":
        peaks["muon"] = optim.lr * optim.muon.lr_scale
        decays["muon"] = optim.weight_decay * optim.muon.weight_decay_mult
    schedules = {group: make_schedule(optim, derived, peak) for group, peak in peaks.items()}
    direction = _lion(optim) if rest == "lion" else _adam(optim)
    members = {rest: optax.chain(direction, *_finish(rule, decays[rest], schedules[rest]))}
    if optim.name == "muon":
        members["muon"] = optax.chain(*_muon(optim, rule), *_finish(rule, decays["muon"], schedules["muon"]))
    transform = optax.partition(members, tree_of(rule, lambda given: given.group))
    assigned = tuple(assignments(rule, params))
    return Optimizer(_moments_in_float32(transform), schedules, assigned, _rows(assigned, peaks, decays))


def _adam(optim: OptimConfig) -> optax.GradientTransformation:
    """AdamW's direction (Loshchilov and Hutter 2019)."""
    adam = optim.adam
    return keeping_adam(adam.b1, adam.b2, adam.eps, nesterov=adam.nesterov)


def _lion(optim: OptimConfig) -> optax.GradientTransformation:
    """Lion's direction (Chen et al. 2023, arXiv 2302.06675)."""
    return keeping(optax.scale_by_lion(b1=optim.lion.b1, b2=optim.lion.b2))


def _muon(optim: OptimConfig, rule: Rule) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Muon's direction (Jordan 2024), scaled by each matrix's shape."""
    muon = optim.muon
    axes = tree_of(rule, lambda given: given.axes)
    direction = scale_by_muon(
        ns_steps=muon.ns_steps, beta=muon.momentum, nesterov=muon.nesterov, weight_dimension_numbers=axes
    )
    factors = tree_of(rule, lambda given: _shape_factor(given, muon.consistent_rms))
    return keeping(direction), optax.stateless(lambda grads, _: jax.tree.map(jnp.multiply, grads, factors(grads)))


def _shape_factor(given: Assignment, consistent_rms: float | None) -> float:
    """Return what an orthogonal matrix is multiplied by.

    Without `consistent_rms`, sqrt(max(1, outputs / inputs)), which keeps the output's size whatever the width
    (github.com/KellerJordan/Muon); with it, sqrt(max(outputs, inputs)) times it, which gives every update that root
    mean square (Liu et al. 2025, arXiv 2502.16982).
    """
    inputs, outputs = given.shape[given.axes.reduction_axis], given.shape[given.axes.output_axis]
    if consistent_rms is None:
        return math.sqrt(max(1.0, outputs / inputs))
    return math.sqrt(max(outputs, inputs)) * consistent_rms


def _finish(
    rule: Rule, weight_decay: float, schedule: Schedule
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Decay and learning rate, the same for every group: p <- p - lr (direction + decay p)."""
    decaying = tree_of(rule, lambda given: given.decays)
    return optax.add_decayed_weights(weight_decay, mask=decaying), keeping(optax.scale_by_learning_rate(schedule))


def _moments_in_float32(transform: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Start the moments in fp32 also where parameters are stored in bf16, whose 8 bits lose small averages."""

    def init(params: PyTree) -> PyTree:
        return transform.init(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))

    return optax.GradientTransformationExtraArgs(init, transform.update)


def _rows(
    assigned: tuple[Assignment, ...], peaks: Mapping[GroupName, float], decays: Mapping[GroupName, float]
) -> tuple[GroupRow, ...]:
    kinds = sorted({(given.group, given.decays) for given in assigned}, reverse=True)
    rows = []
    for group, decaying in kinds:
        sizes = [given.size for given in assigned if (given.group, given.decays) == (group, decaying)]
        rows.append(GroupRow(group, len(sizes), sum(sizes), peaks[group], decays[group] if decaying else 0.0))
    return tuple(rows)
