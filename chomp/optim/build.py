"""Build the optimizer from its configuration: the groups of the rule, each with its decay and learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from chomp.config.derive import Derived
from chomp.config.optim import OptimConfig
from chomp.optim.conditional import conditional
from chomp.optim.groups import Group, Parameter, build_groups, by_parameter, embedding_of, parameters_of
from chomp.optim.schedule import Count, Schedule, make_schedule
from chomp.parallel.mesh import ONE_DEVICE, Placement


@dataclass(frozen=True)
class Assignment(Parameter):
    """A parameter and the name of its group."""

    group: str


@dataclass(frozen=True)
class GroupRow:
    """One line of the table of parameter groups: its tensors share a peak learning rate and a decay."""

    group: str
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
        schedules: learning rate of each group, by the number of updates applied; the last takes what others leave.
        assigned: what each parameter gets.
        rows: the same, summed up by group and decay.
    """

    transform: optax.GradientTransformationExtraArgs
    schedules: Mapping[str, Schedule]
    assigned: tuple[Assignment, ...]
    rows: tuple[GroupRow, ...]

    def lr(self, count: Count) -> dict[str, Float[Array, ""]]:
        """Return the rates of the update after `count` ones: `lr` of the last group, `lr_NAME` of each other one."""
        *others, last = self.schedules.items()
        return {"lr": last[1](count)} | {f"lr_{name}": schedule(count) for name, schedule in others}

    def describe(self) -> str:
        """Return the table of parameter groups as text, one line each under a heading."""
        lines = [f"{'group':<6} {'tensors':>7} {'parameters':>14} {'peak lr':>10} {'decay':>8}"]
        lines += [
            f"{row.group:<6} {row.tensors:>7} {row.parameters:>14,} {row.peak_lr:>10.3g} {row.weight_decay:>8.3g}"
            for row in self.rows
        ]
        return "\n".join(lines)


def build_optimizer(
    optim: OptimConfig, derived: Derived, params: PyTree, *, embedding_path: str, placement: Placement = ONE_DEVICE
) -> Optimizer:
    """Build the optimizer of a model.

    Args:
        optim: the optim section.
        derived: numbers the schedule needs.
        params: the model's parameters or their shapes (`ModelDef.abstract()`).
        embedding_path: `ModelDef.embedding_path`.
        placement: the mesh on which the step computes.
    """
    groups = build_groups(optim.name, optim, embedding_of(params, embedding_path), placement)

    def group_of(parameter: Parameter) -> str:
        return next(group.name for group in groups if group.takes(parameter))

    schedules = {group.name: make_schedule(optim, derived, group.peak_lr) for group in groups}
    # Checkpoints hold the state in the nesting of this chain.
    members = {
        group.name: optax.chain(
            *group.direction,
            optax.add_decayed_weights(group.weight_decay, mask=by_parameter(lambda parameter: parameter.decays)),
            conditional(optax.scale_by_learning_rate(schedules[group.name])),
        )
        for group in groups
    }
    transform = optax.partition(members, by_parameter(group_of))
    assigned = tuple(Assignment(one.path, one.shape, group_of(one)) for one in parameters_of(params))
    return Optimizer(_moments_in_float32(transform), schedules, assigned, _rows(assigned, groups))


def _moments_in_float32(transform: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Start the moments in fp32 also where parameters are stored in bf16, whose 8 bits lose small averages."""

    def init(params: PyTree) -> PyTree:
        return transform.init(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))

    return optax.GradientTransformationExtraArgs(init, transform.update)


def _rows(assigned: Sequence[Assignment], groups: Sequence[Group]) -> tuple[GroupRow, ...]:
    rows = []
    for group in groups:
        for decaying in (True, False):
            sizes = [one.size for one in assigned if (one.group, one.decays) == (group.name, decaying)]
            if sizes:
                decay = group.weight_decay if decaying else 0.0
                rows.append(GroupRow(group.name, len(sizes), sum(sizes), group.peak_lr, decay))
    return tuple(rows)
