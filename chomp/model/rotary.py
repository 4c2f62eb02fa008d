"""Rotary positions (Su et al. 2021, arXiv 2104.09864): the first half of a head's channels turns with its second half.

`transformers` pairs channels the same way.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class RotaryTable(NamedTuple):
    """Cosines and sines of each position's angles, fp32, `[B, T, 1, head_dim / 2]`."""

    cos: Float[Array, "batch seq 1 half"]
    sin: Float[Array, "batch seq 1 half"]


def rotary_table(positions: Int[Array, "batch seq"], head_dim: int, base: float) -> RotaryTable:
    """Return the angles of positions: `position * base ** (-2 i / head_dim)` for channel pair i."""
    rates = base ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[:, :, None, None].astype(jnp.float32) * rates
    return RotaryTable(jnp.cos(angles), jnp.sin(angles))


def rotated(x: Float[Array, "batch seq heads dim"], table: RotaryTable) -> Float[Array, "batch seq heads dim"]:
    """Turn channel pairs (i, i + head_dim / 2) by their angles, in fp32; the result has the dtype of `x`."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * table.cos - second * table.sin, second * table.cos + first * table.sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
