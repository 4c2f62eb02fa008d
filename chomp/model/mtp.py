"""Multi-token prediction: extra heads that predict later tokens from the same final states.

Gloeckle et al. 2024 (arXiv 2404.19737): n heads on one shared trunk, independent of each other, and one output head
for all of them. Theirs are transformer layers. Here a head is one residual layer, `h + silu(W h)`, as in Medusa (Cai et
al. 2024, arXiv 2401.10774), so that it costs `model_dim` squared parameters and no attention. They are trained beside
the trunk and used for nothing else: evaluation, sampling and exports read the trunk.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from chomp.model.llama_block import Linear


class PredictionHead(eqx.Module):
    """From the trunk's final states to those that predict one later token."""

    transform: Linear

    def __init__(self, dim: int, dtype: Any, *, key: PRNGKeyArray) -> None:
        """Draw weights."""
        self.transform = Linear(dim, dim, dtype, key=key)

    def __call__(self, states: Float[Array, "*lead dim"]) -> Float[Array, "*lead dim"]:
        """Map final states to states that the trunk's output head can read."""
        return states + jax.nn.silu(self.transform(states))


class WithHeads(eqx.Module):
    """Parameters of a model and of the heads beside it.

    Attributes:
        trunk: the model's own, as they are without heads.
        mtp: head i, from 1, has index i - 1 and predicts token t + 1 + i from position t.
    """

    trunk: PyTree
    mtp: tuple[PredictionHead, ...]


def trunk_of(params: PyTree) -> PyTree:
    """Return the parameters without heads."""
    return params.trunk if isinstance(params, WithHeads) else params


def with_trunk(params: PyTree, trunk: PyTree) -> PyTree:
    """Return the parameters with those of another trunk, in their own dtypes."""
    cast = jax.tree.map(lambda own, new: new.astype(own.dtype), trunk_of(params), trunk)
    return WithHeads(cast, params.mtp) if isinstance(params, WithHeads) else cast


def heads_of(params: PyTree) -> tuple[PredictionHead, ...]:
    """Return the heads, none where there are none."""
    return params.mtp if isinstance(params, WithHeads) else ()


def later_mask(counted: Bool[Array, "*lead targets"], head: int) -> Bool[Array, "*lead targets"]:
    """Say where head `head` is trained, `True` where it scores `labels[..., t + 1 + head]` from position t.

    It is where all the next `head + 1` tokens are loss tokens: none of them lies in another document than the one
    before it, and none is left out.

    Args:
        counted: `[..., seq - 1]` from `chomp.model.loss.loss_mask`.
        head: from 1.

    Returns:
        `[..., seq - 1]`, false where the row ends before that token.
    """
    return jnp.stack([shifted(counted, ahead) for ahead in range(head + 1)]).all(axis=0)


def shifted(row: Shaped[Array, "*lead places"], ahead: int) -> Shaped[Array, "*lead places"]:
    """Shift a row to the left by `ahead` places and fill its end with zeros (false)."""
    return jnp.pad(row[..., ahead:], [(0, 0)] * (row.ndim - 1) + [(0, ahead)])
