"""Megalodon's blocks as chomp trains them: the library's, with the products of `chomp.model.products`."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax.layers.attention import MegalodonAttention, NormalizedFFN
from megalodon_jax.layers.rotary import RotaryTable
from megalodon_jax.layers.segments import SegmentMetadata
from megalodon_jax.ops import linear_3d
from megalodon_jax.types import LayerCache

from chomp.model.products import mapped, projected


class GatedAttention(MegalodonAttention):
    """The library's `MegalodonAttention`, its parameters and its meaning (Ma et al. 2024, arXiv 2404.08801, section 3).

    Left to the library: masks, sampling, dropout, and fp32 unless `own_float32`.

    Attributes:
        own_float32: models that compute in fp32 are not left to the library, for CPUs.
    """

    own_float32: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        x: Float[Array, "batch seq dim"],
        cache: LayerCache | None = None,
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
    ) -> tuple[Float[Array, "batch seq dim"], LayerCache | None]:
        """See `MegalodonAttention.__call__`: the same arguments, results and errors."""
        drops = not deterministic and max(self.dropout, self.hidden_dropout, self.inner.attention_dropout) > 0.0
        left = cache is not None or return_cache or mask is not None or position_ids is not None or drops
        if left or (_is_float32(self) and not self.own_float32):
            return super().__call__(
                x, cache, mask, segment_ids, position_ids, return_cache, deterministic, key,
                _cache_validated=_cache_validated, _segment_metadata=_segment_metadata, _rotary_table=_rotary_table,
            )  # fmt: skip
        documents: dict[str, Any] = {"segment_ids": segment_ids, "_segment_metadata": _segment_metadata}
        batch, length, _ = x.shape
        x = x.astype(self.compute_dtype)
        normal, _ = self.timenorm(x, **documents)
        average, _ = self.cema(
            normal.transpose(0, 2, 1),
            use_associative_segment_scan=self.use_associative_segment_scan,
            **documents,
        )
        mixed = self.rmsnorm(average.transpose(0, 2, 1))
        shared, gate, candidate = self._projected(mixed, self.wz, self.wr, self.wh1)
        (v,) = self._projected(normal, self.wv)
        q, k = self._queries_and_keys(shared.reshape(batch, length, self.num_heads, self.head_dim))
        v, gate = jax.nn.silu(v), jax.nn.silu(gate)
        heads = v.reshape(batch, length, self.num_heads, self.value_head_dim)
        out, _, _ = self.inner(q, k, heads, _rotary_table=_rotary_table, **documents)
        out = out.reshape(batch, length, self.value_dim) * gate
        if _is_float32(self):
            return candidate + mapped(out, self.wh2.weight) + x, None
        return candidate + linear_3d(self.wh2, out, self.compute_dtype, self.accum_dtype) + x, None

    def _queries_and_keys(self, shared: Float[Array, "batch seq heads dim"]) -> tuple[Array, Array]:
        """RMS-normalised per head, then scaled and shifted for each role, in fp32."""
        wide = shared.astype(jnp.float32)
        normal = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.norm_eps)
        shape = (2, self.num_heads, self.head_dim)
        gamma, beta = (value.reshape(shape).astype(jnp.float32) for value in (self.gamma, self.beta))
        scale = (gamma + 1.0) / jnp.sqrt(jnp.asarray(self.head_dim, jnp.float32))
        q, k = ((normal * scale[role] + beta[role]).astype(self.compute_dtype) for role in (0, 1))
        return q, k

    def _projected(self, x: Float[Array, "batch seq dim"], *linears: eqx.nn.Linear) -> list[Array]:
        if _is_float32(self):
            # One product for all would be copied to the results of each.
            return [mapped(x, linear.weight, linear.bias) for linear in linears]
        weights, biases = ([getattr(linear, name) for linear in linears] for name in ("weight", "bias"))
        return projected(x, weights, biases)


class FeedForward(NormalizedFFN):
    """The library's `NormalizedFFN`, its parameters and its meaning, computed in fp32 on CPUs.

    Left to the library: dropout, and models that compute in another dtype.
    """

    def __call__(
        self,
        x: Float[Array, "batch seq dim"],
        residual_base: Float[Array, "batch seq dim"] | None = None,
        deterministic: bool = True,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "batch seq dim"]:
        """See `NormalizedFFN.__call__`: the same arguments, results and errors."""
        drops = not deterministic and max(self.dropout, self.hidden_dropout) > 0.0
        if drops or not _is_float32(self):
            return super().__call__(x, residual_base, deterministic, key)
        x = x.astype(jnp.float32)
        normal = self.norm(x)
        hidden = jax.nn.silu(mapped(normal, self.fc1.weight))
        if self.fc3 is not None:
            hidden = hidden * mapped(normal, self.fc3.weight)
        out = mapped(hidden, self.fc2.weight)
        if self.alpha is not None:
            out = out * self.alpha.astype(out.dtype)
        return (x if residual_base is None else residual_base.astype(jnp.float32)) + out


def _is_float32(layer: MegalodonAttention | NormalizedFFN) -> bool:
    return jnp.dtype(layer.compute_dtype) == jnp.float32
