"""Attention with the heads before the positions: Megalodon's (`chomp.model.attention`) and a Llama's in fp32 on CPUs.

XLA for CPUs writes the operands of a product head by head. With the positions first it does so anew for each part of a
chunk, forwards and backwards, and values even channel by channel. Here each array is turned once, and parts of it are
read where they are.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# A half of fewer positions is not worth a matrix product of its own.
LEAST_HALF = 8


def attention_by_heads(
    q: Float[Array, "batch seq heads dim"],
    k: Float[Array, "batch seq heads dim"],
    v: Float[Array, "batch seq heads value_dim"],
    first: Int[Array, "batch seq"] | None,
    size: int,
) -> Float[Array, "batch seq heads value_dim"]:
    """Mix values by softmax of the products of queries and keys, which are not scaled.

    Args:
        first: each query sees the positions from this one, which is at most a chunk before it, to its own; later than
            its own is none, and gives 0. None: chunks begin at multiples of their size.
        size: positions of a chunk.
    """
    length = q.shape[1]
    q, k, v = (jnp.swapaxes(part, 1, 2) for part in (q, k, v))
    if length <= size:
        mixed = _within(q, k, v, first)
    elif first is None:
        q, k, v = (_chunks(_padded(part, size), size) for part in (q, k, v))
        mixed = _joined(_within(q, k, v, None))
    else:
        begin = _within(q[:, :, :size], k[:, :, :size], v[:, :, :size], first[:, :size])
        mixed = jnp.concatenate([begin, _with_chunk_before(q, k, v, first, size)], axis=2)
    return jnp.swapaxes(mixed[:, :, :length], 1, 2)


def half_chunks(length: int) -> tuple[tuple[int, int], ...]:
    """Where the parts of so many positions begin and end."""
    middle = -(-length // 2)
    return ((0, length),) if middle < LEAST_HALF else ((0, middle), (middle, length))


def _within(q: Array, k: Array, v: Array, first: Int[Array, "batch size"] | None) -> Array:
    """Chunks, or a row of one chunk at most, with no key before them."""
    outs = []
    for start, end in half_chunks(q.shape[-2]):
        allowed = None if first is None else (jnp.arange(end) >= first[:, start:end, None])[:, None]
        outs.append(_mixed(q[..., start:end, :], k[..., :end, :], v[..., :end, :], allowed))
    return jnp.concatenate(outs, axis=-2)


def _with_chunk_before(q: Array, k: Array, v: Array, first: Int[Array, "batch seq"], size: int) -> Array:
    """All chunks of a row but the first; each half gets the keys that it can reach."""
    length = q.shape[2]
    q, k, v = (_padded(part, size) for part in (q, k, v))
    # What is added sees nothing.
    first = jnp.pad(first, ((0, 0), (0, -length % size)), constant_values=4 * (length + size))
    queries = _chunks(q[:, :, size:], size)
    keys, values = (
        jnp.concatenate([_chunks(part[:, :, :-size], size), _chunks(part[:, :, size:], size)], axis=3)
        for part in (k, v)
    )
    number = queries.shape[2]
    lowest = first[:, size:].reshape(-1, number, size) - size * jnp.arange(number)[:, None]
    outs = []
    for start, end in half_chunks(size):
        seen = slice(start, size + end)
        allowed = jnp.arange(start, size + end) >= lowest[:, :, start:end, None]
        outs.append(_mixed(queries[..., start:end, :], keys[..., seen, :], values[..., seen, :], allowed[:, None]))
    return _joined(jnp.concatenate(outs, axis=-2))


def _mixed(q: Array, k: Array, v: Array, allowed: Array | None) -> Array:
    """Values mixed by attention; the last query and the last key have the same position.

    Args:
        allowed: bool, by queries and keys; None where each query may see the keys up to its own.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    seen = jnp.arange(keys) <= jnp.arange(queries)[:, None] + (keys - queries)
    seen = seen if allowed is None else seen & allowed
    scores = jnp.einsum("...qd,...kd->...qk", q, k, precision=jax.lax.Precision.HIGHEST)
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
    if allowed is not None:
        # A query of padding sees nothing: its weights are 0 over 0.
        weights = jnp.where(seen.any(-1, keepdims=True), weights, 0.0)
    return jnp.einsum("...qk,...kd->...qd", weights, v, precision=jax.lax.Precision.HIGHEST)


def _padded(part: Float[Array, "batch heads seq dim"], size: int) -> Array:
    """A row of whole chunks."""
    return jnp.pad(part, ((0, 0), (0, 0), (0, -part.shape[2] % size), (0, 0)))


def _chunks(part: Float[Array, "batch heads seq dim"], size: int) -> Array:
    return part.reshape(*part.shape[:2], -1, size, part.shape[-1])


def _joined(part: Float[Array, "batch heads chunks size dim"]) -> Array:
    return part.reshape(*part.shape[:2], -1, part.shape[-1])
