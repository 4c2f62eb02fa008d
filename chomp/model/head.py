"""From hidden states to token losses without holding all logits at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def logits_of(hidden: Float[Array, "*lead dim"], weight: Float[Array, "vocab dim"]) -> Float[Array, "*lead vocab"]:
    """Return fp32 logits; the product is computed in the hidden states' dtype."""
    return jnp.matmul(hidden, weight.astype(hidden.dtype).T, preferred_element_type=jnp.float32)


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

    tokens = hidden.shape[0]
    if chunk_size is None or chunk_size >= tokens:
        return losses(hidden, targets)
    spare = -tokens % chunk_size
    chunks = (
        jnp.pad(hidden, ((0, spare), (0, 0))).reshape(-1, chunk_size, hidden.shape[1]),
        jnp.pad(targets, (0, spare)).reshape(-1, chunk_size),
    )
    return jax.lax.map(lambda chunk: jax.checkpoint(losses)(*chunk), chunks).reshape(-1)[:tokens]
