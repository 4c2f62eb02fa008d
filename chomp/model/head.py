"""From hidden states to token losses without holding all logits at once."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chomp.model.base import ModelInputs
from chomp.model.loss import loss_mask
from chomp.model.products import einsum_f32

PerToken = TypeVar("PerToken")
"""Arrays `[tokens, ...]`, one or several."""


def logits_of(hidden: Float[Array, "*lead dim"], weight: Float[Array, "vocab dim"]) -> Float[Array, "*lead vocab"]:
    """Return fp32 logits; the product is computed in the hidden states' dtype."""
    lead = hidden.shape[:-1]
    return einsum_f32("nd,vd->nv", hidden.reshape(-1, hidden.shape[-1]), weight).reshape(*lead, -1)


def next_token_losses(
    hidden: Float[Array, "batch seq dim"],
    weight: Float[Array, "vocab dim"],
    inputs: ModelInputs,
    chunk_size: int | None,
) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
    """Return `LanguageModel.token_losses` of final states; `chunk_size` as in `negative_log_likelihoods`."""
    counted = loss_mask(inputs.labels, inputs.segment_ids)
    targets = jnp.where(counted, inputs.labels[:, 1:], 0)
    flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
    losses = negative_log_likelihoods(flat, weight, targets.reshape(-1), chunk_size)
    return jnp.where(counted, losses.reshape(counted.shape), 0.0), counted.sum(dtype=jnp.int32)


def negative_log_likelihoods(
    hidden: Float[Array, "tokens dim"],
    weight: Float[Array, "vocab dim"],
    targets: Int[Array, " tokens"],
    chunk_size: int | None,
) -> Float[Array, " tokens"]:
    """Return each target's fp32 negative log-likelihood in nats.

    Args:
        targets: an id for every position; those that do not count are the caller's to leave out.
        chunk_size: tokens projected at once. Their logits are computed again in the backward pass, so that memory is
            bounded by one chunk's; None projects all and keeps them.
    """

    def losses(some: Float[Array, "n dim"], ids: Int[Array, " n"]) -> Float[Array, " n"]:
        logits = logits_of(some, weight)
        return jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]

    return by_chunks(losses, hidden, targets, chunk_size)


def by_chunks(
    reduce: Callable[[Float[Array, "n dim"], Int[Array, "n *each"]], PerToken],
    hidden: Float[Array, "tokens dim"],
    targets: Int[Array, "tokens *each"],
    chunk_size: int | None,
) -> PerToken:
    """Return `reduce(hidden, targets)`, which gives numbers for each token, at most `chunk_size` tokens at a time.

    Args:
        targets: one for each token, or several.
        chunk_size: as in `negative_log_likelihoods`.
    """
    tokens = hidden.shape[0]
    if chunk_size is None or chunk_size >= tokens:
        return reduce(hidden, targets)
    spare = -tokens % chunk_size
    chunks = (
        jnp.pad(hidden, ((0, spare), (0, 0))).reshape(-1, chunk_size, hidden.shape[1]),
        jnp.pad(targets, ((0, spare), *[(0, 0)] * (targets.ndim - 1))).reshape(-1, chunk_size, *targets.shape[1:]),
    )
    found = jax.lax.map(lambda chunk: jax.checkpoint(reduce)(*chunk), chunks)
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[:tokens], found)
