"""Rotary positions (Su et al. 2021, arXiv 2104.09864): the first half of a head's channels turns with its second half.

`transformers` pairs channels the same way.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chomp.config.model import HIGH_FREQUENCY, LOW_FREQUENCY, ROPE_BASE, ModelConfig


class RotaryTable(NamedTuple):
    """Cosines and sines of each position's angles, fp32, `[B, T, 1, head_dim / 2]`."""

    cos: Float[Array, "batch seq 1 half"]
    sin: Float[Array, "batch seq 1 half"]


class RotaryRates(NamedTuple):
    """How fast channel pairs turn: as `model.rope_base`, `rope_scaling` and `rope_original_seq_len` say."""

    base: float
    scaling: float | None = None
    original_seq_len: int = 0

    def slowing(self, head_dim: int) -> Float[np.ndarray, " half"]:
        """Factor by which the rate of each channel pair is divided, fp64.

        That of Llama 3.1 (Grattafiori et al. 2024, arXiv 2407.21783; `rope_type: llama3` of transformers): `scaling`
        for wavelengths above the original length, 1 for those below a quarter of it, and a blend of both rates between.
        """
        if self.scaling is None:
            return np.ones(head_dim // 2)
        turns = self.original_seq_len * self.base ** (-np.arange(0, head_dim, 2) / head_dim) / (2 * math.pi)
        kept = np.clip((turns - LOW_FREQUENCY) / (HIGH_FREQUENCY - LOW_FREQUENCY), 0.0, 1.0)
        return np.asarray(1.0 / (kept + (1.0 - kept) / self.scaling))


def rates_of(model: ModelConfig) -> RotaryRates:
    """The rates of a configuration."""
    return RotaryRates(model.rope_base or ROPE_BASE, model.rope_scaling, model.rope_original_seq_len)


def rotary_table(positions: Int[Array, "batch seq"], head_dim: int, rates: RotaryRates) -> RotaryTable:
    """Return the angles of positions: `position * base ** (-2 i / head_dim)` for channel pair i, or less if scaled."""
    each = rates.base ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    if rates.scaling is not None:
        each = each / jnp.asarray(rates.slowing(head_dim), jnp.float32)
    angles = positions[:, :, None, None].astype(jnp.float32) * each
    return RotaryTable(jnp.cos(angles), jnp.sin(angles))


def rotated(x: Float[Array, "batch seq heads dim"], table: RotaryTable) -> Float[Array, "batch seq heads dim"]:
    """Turn channel pairs (i, i + head_dim / 2) by their angles, in fp32; the result has the dtype of `x`."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * table.cos - second * table.sin, second * table.cos + first * table.sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
