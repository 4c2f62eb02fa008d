"""From hidden states to token losses without holding all logits at once."""

import abc
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.loss import loss_mask
from chomp.model.products import einsum_f32, narrow, wide

PerToken = TypeVar("PerToken")
"""Arrays `[tokens, ...]`, one or several."""


def logits_of(hidden: Float[Array, "*lead dim"], weight: Float[Array, "vocab dim"]) -> Float[Array, "*lead vocab"]:
    """Return fp32 logits; the product is computed in the hidden states' dtype."""
    lead = hidden.shape[:-1]
    return einsum_f32("nd,vd->nv", hidden.reshape(-1, hidden.shape[-1]), weight).reshape(*lead, -1)


class HeadedModel(LanguageModel):
    """A language model whose output head is one matrix; losses are those of `loss_chunk_size` tokens at once.

    `loss_sum` costs no second product with the head in the backward pass: losses and gradients of a chunk are computed
    together, in the forward pass, as only their sum is differentiated (Hsu et al. 2024, Liger Kernel, arXiv 2410.10989,
    section 3.2). In fp32 it is the sum of `token_losses`, so that an older run continues with the bits that it had.
    """

    loss_chunk_size: eqx.AbstractVar[int | None]

    @property
    @abc.abstractmethod
    def in_float32(self) -> bool:
        """Whether hidden states are fp32."""

    @property
    @abc.abstractmethod
    def head_weight(self) -> Float[Array, "vocab dim"]:
        """Weights of the output head, the embedding's if it is tied."""

    def token_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
        """See `LanguageModel.token_losses`."""
        hidden, counted = self.hidden_states(inputs, key=key), loss_mask(inputs.labels, inputs.segment_ids)
        targets = jnp.where(counted, inputs.labels[:, 1:], 0)
        flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
        losses = negative_log_likelihoods(flat, self.head_weight, targets.reshape(-1), self.loss_chunk_size)
        return jnp.where(counted, losses.reshape(counted.shape), 0.0), counted.sum(dtype=jnp.int32)

    def loss_sum(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """See `LanguageModel.loss_sum`."""
        if self.in_float32:
            return super().loss_sum(inputs, key=key)
        hidden, counted = self.hidden_states(inputs, key=key), loss_mask(inputs.labels, inputs.segment_ids)
        flat, labels = hidden[:, :-1].reshape(-1, hidden.shape[-1]), inputs.labels[:, 1:].reshape(-1)
        total = _summed(flat, self.head_weight, labels, counted.reshape(-1), self.loss_chunk_size)
        return total, counted.sum(dtype=jnp.int32)

    def loss_sum_and_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, ""], Int[Array, ""], Float[Array, "batch targets"]]:
        """See `LanguageModel.loss_sum_and_losses`."""
        if self.in_float32:
            return super().loss_sum_and_losses(inputs, key=key)
        hidden, counted = self.hidden_states(inputs, key=key), loss_mask(inputs.labels, inputs.segment_ids)
        flat, labels = hidden[:, :-1].reshape(-1, hidden.shape[-1]), inputs.labels[:, 1:].reshape(-1)
        total, losses = _summed_beside(flat, self.head_weight, labels, counted.reshape(-1), self.loss_chunk_size)
        return total, counted.sum(dtype=jnp.int32), losses.reshape(counted.shape)

    def unembed(self, states: Float[Array, "*lead dim"]) -> Float[Array, "*lead vocab"]:
        """See `LanguageModel.unembed`."""
        return logits_of(states, self.head_weight)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _summed(hidden: Array, weight: Array, targets: Array, counted: Array, chunk_size: int | None) -> Array:
    losses = negative_log_likelihoods(hidden, weight, jnp.where(counted, targets, 0), chunk_size)
    return jnp.where(counted, losses, 0.0).sum(dtype=jnp.float32)


def _summed_forward(
    hidden: Array, weight: Array, targets: Array, counted: Array, chunk_size: int | None
) -> tuple[Array, tuple[Array, Array]]:
    total, saved, _ = _chunked(hidden, weight, targets, counted, chunk_size)
    return total, saved


def _chunked(
    hidden: Array, weight: Array, targets: Array, counted: Array, chunk_size: int | None, *, keeps: bool = False
) -> tuple[Array, tuple[Array, Array], Array | None]:
    """Return the sum, its gradients, and the losses that it adds up if they are kept."""
    tokens, dim = hidden.shape
    size = min(chunk_size or tokens, tokens)
    # Read by every chunk: cast once.
    head = weight.astype(hidden.dtype)

    def one(sums: tuple[Array, Array], chunk: tuple[Array, ...]) -> tuple[tuple[Array, Array], Any]:
        total, d_weight = sums
        some, ids, counts = chunk
        logits = wide("nd,vd->nv", some, head)
        normaliser = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        chosen = jnp.arange(logits.shape[-1]) == ids[:, None]
        losses = (normaliser - jnp.take_along_axis(logits, ids[:, None], axis=-1))[:, 0]
        slopes = jnp.where(counts[:, None], jnp.exp(logits - normaliser) - chosen, 0.0).astype(hidden.dtype)
        d_some = narrow("nv,vd->nd", slopes, head)
        more = wide("nv,nd->vd", slopes, some)
        total = total + jnp.where(counts, losses, 0.0).sum(dtype=jnp.float32)
        return (total, d_weight + more), (d_some, losses if keeps else None)

    spare = -tokens % size
    parts = (jnp.pad(part, ((0, spare), *((0, 0),) * (part.ndim - 1))) for part in (hidden, targets, counted))
    chunks = tuple(part.reshape(-1, size, *part.shape[1:]) for part in parts)
    zero = (jnp.zeros((), jnp.float32), jnp.zeros(weight.shape, jnp.float32))
    (total, d_weight), (d_hidden, losses) = jax.lax.scan(one, zero, chunks)
    saved = (d_hidden.reshape(-1, dim)[:tokens], d_weight.astype(weight.dtype))
    kept = None if losses is None else jnp.where(counted, losses.reshape(-1)[:tokens], 0.0)
    return total, saved, kept


def _summed_backward(
    chunk_size: int | None, saved: tuple[Array, Array], slope: Array
) -> tuple[Array, Array, None, None]:
    d_hidden, d_weight = saved
    return (d_hidden * slope).astype(d_hidden.dtype), (d_weight * slope).astype(d_weight.dtype), None, None


_summed.defvjp(_summed_forward, _summed_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _summed_beside(
    hidden: Array, weight: Array, targets: Array, counted: Array, chunk_size: int | None
) -> tuple[Array, Array]:
    """Return what `_summed` returns, and the losses, whose gradient is not taken."""
    losses = negative_log_likelihoods(hidden, weight, jnp.where(counted, targets, 0), chunk_size)
    losses = jnp.where(counted, losses, 0.0)
    return losses.sum(dtype=jnp.float32), losses


def _summed_beside_forward(
    hidden: Array, weight: Array, targets: Array, counted: Array, chunk_size: int | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    total, saved, losses = _chunked(hidden, weight, targets, counted, chunk_size, keeps=True)
    assert losses is not None
    return (total, losses), saved


def _summed_beside_backward(
    chunk_size: int | None, saved: tuple[Array, Array], slopes: tuple[Array, Array]
) -> tuple[Array, Array, None, None]:
    return _summed_backward(chunk_size, saved, slopes[0])


_summed_beside.defvjp(_summed_beside_forward, _summed_beside_backward)


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
