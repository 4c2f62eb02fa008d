"""Megalodon's attention over documents in a row, without computing twice what is masked.

A document's chunks begin where it does, so a query sees back as far as one chunk across the grid of a row. The library
(`megalodon_jax.layers.attention`) gives every chunk of queries the keys of two chunks. Here each half of a chunk gets
the keys that it can reach, one chunk and a half; a row's first chunk has none before it. In bf16 all halves are one
product. On continuous rows, where no chunk reaches into another one, the first half of each is spared the keys behind
it. What happens to scores is the library's own function in fp32, and the same with the products of
`chomp.model.products` in bf16.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax.layers.attention import ChunkedAttention, attention_single_chunk
from megalodon_jax.layers.rotary import RotaryTable
from megalodon_jax.layers.segments import SegmentMetadata, derive_segment_metadata
from megalodon_jax.types import AttentionCache

from chomp.model.attention_by_heads import LEAST_HALF, attention_by_heads, half_chunks
from chomp.model.products import einsum_f32, narrow
from chomp.model.remat import recompute_attention


class HalvedAttention(ChunkedAttention):
    """The library's `ChunkedAttention` and its meaning, training rows computed by halves of a chunk.

    Left to the library: masks, sliding windows, dropout of attention, and sampling.

    Attributes:
        policy: what is kept for the backward pass, see `chomp.model.remat`.
        halve_first: spares the first chunk of a row a quarter of its scores, for one product more.
        by_heads: in fp32 the same with the heads before the positions (`chomp.model.attention_by_heads`), for CPUs.
    """

    policy: str = eqx.field(static=True, default="none")
    halve_first: bool = eqx.field(static=True, default=True)
    by_heads: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        q: Float[Array, "batch seq heads head_dim"],
        k: Float[Array, "batch seq heads head_dim"],
        v: Float[Array, "batch seq heads value_dim"],
        cache: AttentionCache | None = None,
        mask: Bool[Array, "batch seq"] | None = None,
        segment_ids: Int[Array, "batch seq"] | None = None,
        position_ids: Int[Array, "batch seq"] | None = None,
        return_cache: bool = False,
        deterministic: bool = True,
        key: PRNGKeyArray | None = None,
        *,
        _cache_validated: bool = False,
        _segment_metadata: SegmentMetadata | None = None,
        _rotary_table: RotaryTable | None = None,
    ) -> tuple[Float[Array, "batch seq heads value_dim"], AttentionCache | None, Int[Array, ""]]:
        """See `ChunkedAttention.__call__`: the same arguments, results and errors."""
        usual = (
            q.ndim == 4
            and q.shape == k.shape
            and q.shape[:3] == v.shape[:3]
            and q.shape[2] == self.num_heads
            and q.shape[1] >= 2 * LEAST_HALF
            and self.chunk_size >= 2 * LEAST_HALF
            and (deterministic or self.attention_dropout == 0.0)
        )
        left = cache is not None or return_cache or mask is not None or self.attention_window is not None
        if left or position_ids is not None or not usual:
            return super().__call__(
                q, k, v, cache, mask, segment_ids, position_ids, return_cache, deterministic, key,
                _cache_validated=_cache_validated, _segment_metadata=_segment_metadata, _rotary_table=_rotary_table,
            )  # fmt: skip
        length = q.shape[1]
        documents = None
        if segment_ids is not None:
            documents = _segment_metadata or derive_segment_metadata(segment_ids)
        here = jnp.arange(length, dtype=jnp.int32)
        positions = here[None] if documents is None else documents.local_positions
        local = jnp.broadcast_to(positions % self.chunk_size, q.shape[:2])
        q, k = self.rotary(q, k, jnp.asarray(0, jnp.int32), position_ids=local, table=_rotary_table)
        first = None
        if documents is not None:
            # Where the query's own chunk of its document begins; padding sees nothing.
            first = jnp.where(documents.valid, here - local, 2 * (length + self.chunk_size))
        if self.by_heads and all(jnp.dtype(one) == jnp.float32 for one in (q.dtype, self.softmax_dtype)):
            out = recompute_attention(attention_by_heads, self.policy)(q, k, v, first, self.chunk_size)
        elif first is None:
            out = recompute_attention(self._continuous, self.policy)(q, k, v)
        else:
            out = recompute_attention(self._isolated, self.policy)(q, k, v, first)
        return out, None, jnp.asarray(length, jnp.int32)

    def _continuous(self, q: Array, k: Array, v: Array) -> Array:
        """Rows whose chunks start at multiples of the chunk size."""
        rows, length = q.shape[:2]
        if length <= self.chunk_size:
            return self._within(q, k, v, None)
        q, k, v = (_chunks(self._padded(part), self.chunk_size) for part in (q, k, v))
        out = self._within(q, k, v, None)
        return out.reshape(rows, -1, *out.shape[2:])[:, :length]

    def _isolated(self, q: Array, k: Array, v: Array, first: Int[Array, "batch seq"]) -> Array:
        """Rows in which a query sees keys from `first` on: the first chunk, then others with the one before each."""
        (rows, length), size = q.shape[:2], self.chunk_size
        begin = self._within(q[:, :size], k[:, :size], v[:, :size], first[:, :size], halved=self.halve_first)
        if length <= size:
            return begin
        q, k, v = (self._padded(part) for part in (q, k, v))
        first = self._padded(first, fill=4 * (length + size))
        base = jnp.arange(0, q.shape[1] - size, size, dtype=jnp.int32)
        queries, lowest = (_chunks(part[:, size:], size) for part in (q, first))
        lowest = (lowest.reshape(rows, -1, size) - base[:, None]).reshape(-1, size)
        keys, values = (
            jnp.concatenate([_chunks(part[:, :-size], size), _chunks(part[:, size:], size)], axis=1) for part in (k, v)
        )
        halves = []
        for start, end in half_chunks(size):
            seen = slice(start, size + end)
            allowed = jnp.arange(start, size + end) >= lowest[:, start:end, None]
            halves.append((queries[:, start:end], keys[:, seen], values[:, seen], allowed))
        if q.dtype == jnp.float32 or size % 2:
            # As it was, so that older runs continue with the same bits.
            outs = [self._mixed(*half) for half in halves]
        else:
            outs = jnp.split(self._mixed(*map(jnp.concatenate, zip(*halves, strict=True))), len(halves))
        rest = jnp.concatenate(outs, axis=1)
        rest = rest.reshape(rows, -1, *rest.shape[2:])
        return jnp.concatenate([begin, rest], axis=1)[:, :length]

    def _within(
        self, q: Array, k: Array, v: Array, first: Int[Array, "rows size"] | None, *, halved: bool = True
    ) -> Array:
        """Rows of one chunk at most, with no key before them."""
        outs = []
        for start, end in half_chunks(q.shape[1]) if halved else ((0, q.shape[1]),):
            allowed = None if first is None else jnp.arange(end) >= first[:, start:end, None]
            outs.append(self._mixed(q[:, start:end], k[:, :end], v[:, :end], allowed))
        return jnp.concatenate(outs, axis=1)

    def _mixed(self, q: Array, k: Array, v: Array, allowed: Bool[Array, "rows queries keys"] | None) -> Array:
        """Values mixed by attention; the last query and the last key have the same position."""
        if q.dtype == jnp.float32:
            kinds: dict[str, Any] = {"accum_dtype": self.accum_dtype, "softmax_dtype": self.softmax_dtype}
            return attention_single_chunk(q, k, v, qk_mask=allowed, causal=True, **kinds)
        queries, keys = q.shape[1], k.shape[1]
        seen = jnp.arange(keys) <= jnp.arange(queries)[:, None] + (keys - queries)
        seen = (seen if allowed is None else seen & allowed)[..., None, :, :]
        scores = jnp.where(seen, einsum_f32("bqhd,bkhd->bhqk", q, k), -jnp.inf).astype(self.softmax_dtype)
        # A query of padding sees nothing: its weights are 0 over 0.
        weights = jnp.where(seen.any(-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0.0).astype(q.dtype)
        return narrow("bhqk,bkhd->bqhd", weights, v)

    def _padded(self, part: Array, fill: int = 0) -> Array:
        """A row of whole chunks."""
        spare = -part.shape[1] % self.chunk_size
        return jnp.pad(part, ((0, 0), (0, spare), *((0, 0),) * (part.ndim - 2)), constant_values=fill)


def _chunks(part: Array, size: int) -> Array:
    return part.reshape(-1, size, *part.shape[2:])
