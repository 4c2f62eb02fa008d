"""Update rules that leave their state alone in a step that is refused.

`update` takes one more argument, `applied`, a scalar bool, true if it is not given. Where it is false the state comes
back bit for bit as it was, and the returned update must not be used.

The choice is the rule's because of what XLA makes of it. For CPUs it gives every returned array a loop of its own. Were
Adam's moments chosen after the rule, the direction would be made of other arrays than those returned: both moments are
then computed twice, and copied first, as what is returned is written over the old ones. Chosen before the direction
reads them they are computed once and copied never.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PyTree

State = TypeVar("State")
Flag = Bool[Array, ""] | bool


def select(applied: Flag, new: State, old: State) -> State:
    """Return `new` where the step is applied, `old` where it is not."""
    return jax.tree.map(lambda new, old: jnp.where(applied, new, old), new, old)


def conditional(rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Make a rule choose between its old and its new state."""

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, applied: Flag = True, **others: Any
    ) -> tuple[PyTree, PyTree]:
        updates, new = rule.update(grads, state, params)
        return updates, select(applied, new, state)

    return optax.GradientTransformationExtraArgs(rule.init, update)


def conditional_adam(b1: float, b2: float, eps: float, *, nesterov: bool) -> optax.GradientTransformationExtraArgs:
    """`conditional(optax.scale_by_adam(b1, b2, eps, nesterov=nesterov))`, whose direction reads selected moments."""
    rule = optax.scale_by_adam(b1, b2, eps, nesterov=nesterov)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, applied: Flag = True, **others: Any
    ) -> tuple[PyTree, PyTree]:
        _, new = rule.update(grads, state, params)
        count, kept = new.count, select(applied, new, state)
        if nesterov:
            ahead = optax.tree.bias_correction(kept.mu, b1, optax.safe_increment(count))
            now = optax.tree.bias_correction(grads, b1, count)
            mean = jax.tree.map(lambda ahead, now: b1 * ahead + (1 - b1) * now, ahead, now)
        else:
            mean = optax.tree.bias_correction(kept.mu, b1, count)
        square = optax.tree.bias_correction(kept.nu, b2, count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square), kept

    return optax.GradientTransformationExtraArgs(rule.init, update)
