"""Exponential moving average of the parameters (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046).

The average of many updates has less of the noise that single batches leave in the parameters. It is kept in fp32: in
bf16 an update of a thousandth would be rounded away.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from chomp.model.mtp import trunk_of

# Updates after which an average keeps more than half; with fewer, the first parameters would be most of it.
EARLY = 9.0


def start_average(params: PyTree) -> PyTree:
    """Return the average of parameters that have had no update, in arrays of its own; extra heads have none."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf).astype(jnp.float32), trunk_of(params))


def averaged(
    average: PyTree, params: PyTree, decay: float, updates: Int[Array, ""], applied: Bool[Array, ""]
) -> PyTree:
    """Return the average after an update, or as it was if the update was refused.

    Update n keeps min(decay, n / (n + 9)) of it, as TensorFlow's `ExponentialMovingAverage` does with `num_updates`.

    Args:
        average: from `start_average` or from here.
        params: after the update, with or without extra heads.
        decay: `optim.ema.decay`.
        updates: applied so far, this one included.
        applied: whether this one was.
    """
    count = updates.astype(jnp.float32)
    kept = jnp.minimum(decay, count / (count + EARLY))
    return jax.tree.map(
        lambda mean, leaf: jnp.where(applied, mean + (1.0 - kept) * (leaf.astype(jnp.float32) - mean), mean),
        average,
        trunk_of(params),
    )
