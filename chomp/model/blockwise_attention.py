"""Attention by blocks of queries and keys, of which only those that see each other are computed.

A block's scores stay in a processor's caches, and the scores of a row are never all there at once: softmax is summed up
from block to block (Milakov and Gimelshein 2018, arXiv 1805.02867), and the backward pass computes scores again (Dao et
al. 2022, arXiv 2205.14135). Blocks behind the diagonal and between two documents are left out. Loops go over blocks, so
that a long row compiles in the time of a short one; on a GPU each turn would wait for the host. A short row in fp32 has
no loops: see `UNLOOPED`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chomp.model.attention_by_heads import attention_by_heads
from chomp.model.products import wide

BLOCK = 128
"""Positions of a block at most."""
UNLOOPED = 2 * BLOCK
"""Positions of a row whose blocks are too few for loops."""
LEAST = jnp.finfo(jnp.float32).min


def blockwise_attention(
    query: Float[Array, "batch seq heads dim"],
    key: Float[Array, "batch seq kv_heads dim"],
    value: Float[Array, "batch seq kv_heads value_dim"],
    first: Int[Array, "batch seq"],
) -> Float[Array, "batch seq heads value_dim"]:
    """Mix values by softmax of the products of queries and keys, which are not scaled.

    Args:
        key, value: each shared by `heads / kv_heads` queries.
        first: each query sees the positions from this one to its own; later than its own is none, and gives 0.
    """
    batch, length, heads, _ = query.shape
    shared, number = heads // key.shape[2], -(-length // BLOCK)
    if length <= UNLOOPED and query.dtype == jnp.float32:
        # Scores of so few positions fit into memory, and the backward pass need not compute them again.
        keys, values = (jnp.repeat(part, shared, axis=2) for part in (key, value))
        return attention_by_heads(query, keys, values, first, length)
    size = -(-length // number)

    def blocks(part: Array) -> Array:
        """Blocks, then rows, heads, and positions of a block."""
        spare = ((0, 0), (0, number * size - length), *((0, 0),) * (part.ndim - 2))
        # What is added sees what the last position sees, and is seen by none.
        part = jnp.pad(part, spare, mode="edge").reshape(batch, number, size, *part.shape[2:])
        return jnp.moveaxis(part, (1, 2), (0, -2 if part.ndim > 3 else -1))

    # Queries that share a key are rows of one product.
    queries = blocks(query).reshape(number, batch, key.shape[2], shared * size, -1)
    keys, values = blocks(key), blocks(value)
    sight = jnp.tile(blocks(first), (1, 1, shared))
    mixed = _attend(queries, keys, values, sight)
    mixed = mixed.reshape(number, batch, heads, size, -1)
    return jnp.transpose(mixed, (1, 0, 3, 2, 4)).reshape(batch, number * size, heads, -1)[:, :length]


Queries = Float[Array, "blocks batch heads rows dim"]
Keys = Float[Array, "blocks batch heads size dim"]
Values = Float[Array, "blocks batch heads size value_dim"]
Mixed = Float[Array, "blocks batch heads rows value_dim"]
Firsts = Int[Array, "blocks batch rows"]


@jax.custom_vjp
def _attend(queries: Queries, keys: Keys, values: Values, first: Firsts) -> Mixed:
    return _forward(queries, keys, values, first)[0]


def _forward(queries: Queries, keys: Keys, values: Values, first: Firsts) -> tuple[Mixed, tuple[Array, ...]]:
    def rows(_: None, block: tuple[Array, ...]) -> tuple[None, tuple[Array, Array]]:
        i, q, sight, start = block

        def add(j: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
            top, total, mixed = sums
            scores = _scores(q, keys[j], sight, i, j)
            higher = jnp.maximum(top, scores.max(-1, keepdims=True))
            weights, kept = jnp.exp(scores - higher), jnp.exp(top - higher)
            more = wide("bhqk,bhkd->bhqd", weights.astype(q.dtype), values[j])
            return higher, total * kept + weights.sum(-1, keepdims=True), mixed * kept + more

        zeros = jnp.zeros((*q.shape[:-1], values.shape[-1]), jnp.float32)
        nothing = (jnp.full_like(zeros[..., :1], LEAST), zeros[..., :1], zeros)
        top, total, mixed = jax.lax.fori_loop(start, i + 1, add, nothing)
        total = jnp.where(total == 0, 1.0, total)
        return None, ((mixed / total).astype(q.dtype), top + jnp.log(total))

    each = jnp.arange(len(queries))
    _, (mixed, normaliser) = jax.lax.scan(rows, None, (each, queries, first, _first_blocks(first, keys.shape[-2])))
    return mixed, (queries, keys, values, first, mixed, normaliser)


def _backward(saved: tuple[Array, ...], slopes: Mixed) -> tuple[Array, Array, Array, None]:
    queries, keys, values, first, mixed, normaliser = saved
    # The weights of a query add up to one: what all of them lose when one grows.
    lost = (slopes * mixed).sum(-1, keepdims=True, dtype=jnp.float32)
    of_queries, each = (queries, slopes, first, normaliser, lost), jnp.arange(len(queries))

    def slope_of_scores(own: tuple[Array, ...], k: Array, v: Array, i: Array, j: Array) -> tuple[Array, Array]:
        q, slope, sight, normal, lose = own
        weights = jnp.exp(_scores(q, k, sight, i, j) - normal)
        return weights.astype(q.dtype), (weights * (wide("bhqd,bhkd->bhqk", slope, v) - lose)).astype(q.dtype)

    def rows(_: None, block: tuple[Array, ...]) -> tuple[None, Array]:
        i, start, *own = block

        def add(j: Array, d_q: Array) -> Array:
            _, d_scores = slope_of_scores(tuple(own), keys[j], values[j], i, j)
            return d_q + wide("bhqk,bhkd->bhqd", d_scores, keys[j])

        d_q = jax.lax.fori_loop(start, i + 1, add, jnp.zeros(own[0].shape, jnp.float32))
        return None, d_q.astype(queries.dtype)

    def columns(_: None, block: tuple[Array, ...]) -> tuple[None, tuple[Array, Array]]:
        j, end, k, v = block

        def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
            own = tuple(part[i] for part in of_queries)
            weights, d_scores = slope_of_scores(own, k, v, i, j)
            d_k, d_v = wide("bhqk,bhqd->bhkd", d_scores, own[0]), wide("bhqk,bhqd->bhkd", weights, own[1])
            return sums[0] + d_k, sums[1] + d_v

        zeros = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
        d_k, d_v = jax.lax.fori_loop(j, end, add, zeros)
        return None, (d_k.astype(keys.dtype), d_v.astype(values.dtype))

    starts = _first_blocks(first, keys.shape[-2])
    ends = jnp.where(starts[:, None] <= each, each[:, None] + 1, 0).max(0)
    _, d_q = jax.lax.scan(rows, None, (each, starts, *of_queries))
    _, (d_k, d_v) = jax.lax.scan(columns, None, (each, ends, keys, values))
    return d_q, d_k, d_v, None


_attend.defvjp(_forward, _backward)


def _scores(q: Array, k: Array, sight: Array, i: Array, j: Array) -> Float[Array, "batch heads rows keys"]:
    """Products of a block of queries with a block of keys; -inf where a query does not see a key."""
    size = k.shape[-2]
    positions, keys = i * size + jnp.arange(q.shape[-2]) % size, j * size + jnp.arange(size)
    seen = (keys <= positions[:, None]) & (keys >= sight[:, None, :, None])
    return jnp.where(seen, wide("bhqd,bhkd->bhqk", q, k), -jnp.inf)


def _first_blocks(first: Firsts, size: int) -> Int[Array, " blocks"]:
    """The first block of keys that a query of each block sees in any row."""
    return (first.min((1, 2)) // size).astype(jnp.int32)
