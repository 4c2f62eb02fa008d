"""Megalodon's timestep normalisation over documents in a row, by sums instead of a scan.

The library (`megalodon_jax.layers.timestep_norm`) normalises each position by mean and variance of its group up to
there. On continuous rows it adds up moments about the first token's mean; over documents it merges summaries in an
associative scan, whose many levels are most of the time that compiling such a step takes. Here documents are added up
too, each about its own first token: a sum up to a position, over its own document, is a product with a matrix of
zeros and ones, inside blocks and then between them.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from megalodon_jax.layers.segments import SegmentMetadata, derive_segment_metadata
from megalodon_jax.layers.timestep_norm import TimestepNorm
from megalodon_jax.types import NormState

BLOCK = 64
"""Positions in a block: two products of about equal size for rows of a few thousand."""


class DocumentNorm(TimestepNorm):
    """The library's `TimestepNorm`, its parameters and its meaning; rows of documents are normalised by sums.

    Left to the library: continuous rows, masks, states that come in, and norms with a learnt prior.

    Attributes:
        by_channels: positions are normalised with all channels in one axis, for CPUs, whose loops over the few channels
            of a group are slow: the same numbers.
    """

    by_channels: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        x: Float[Array, "batch seq dim"],
        state: NormState | None = None,
        mask: Bool[Array, "batch seq"] | None = None,
        segment_ids: Int[Array, "batch seq"] | None = None,
        *,
        _state_validated: bool = False,
        _segment_metadata: SegmentMetadata | None = None,
    ) -> tuple[Float[Array, "batch seq dim"], NormState]:
        """See `TimestepNorm.__call__`: the same arguments, results and errors."""
        usual = (
            segment_ids is not None
            and x.ndim == 3
            and x.shape[1] > 0
            and x.shape[2] == self.num_features
            and segment_ids.shape == x.shape[:2]
            and x.dtype in (jnp.float32, jnp.bfloat16)
        )
        if not usual or state is not None or mask is not None or self.prior_count:
            return super().__call__(
                x, state, mask, segment_ids, _state_validated=_state_validated, _segment_metadata=_segment_metadata
            )
        assert segment_ids is not None
        documents = _segment_metadata or derive_segment_metadata(segment_ids)
        batch, length, _ = x.shape
        groups = x.astype(jnp.float32).reshape(batch, length, self.num_groups, self.group_size)
        groups = jnp.where(documents.valid[..., None, None], groups, 0.0)
        mean, variance = moments_so_far(groups, documents)
        last = self._last(mean, variance, documents)
        if self.by_channels:
            return self._normalised(x, mean, variance, documents.valid), last
        scale, bias = ((value.reshape(self.num_groups, -1)) for value in (self.weight + 1.0, self.bias))
        y = (groups - mean[..., None]) * jax.lax.rsqrt(variance[..., None] + self.eps) * scale + bias
        y = jnp.where(documents.valid[..., None, None], y, 0.0)
        return y.reshape(x.shape).astype(x.dtype), last

    def _normalised(
        self,
        x: Float[Array, "batch seq dim"],
        mean: Float[Array, "batch seq groups"],
        variance: Float[Array, "batch seq groups"],
        valid: Bool[Array, "batch seq"],
    ) -> Float[Array, "batch seq dim"]:
        mean, scale = (jnp.repeat(part, self.group_size, -1) for part in (mean, jax.lax.rsqrt(variance + self.eps)))
        valid = valid[..., None]
        y = (jnp.where(valid, x.astype(jnp.float32), 0.0) - mean) * scale * (self.weight + 1.0) + self.bias
        return jnp.where(valid, y, 0.0).astype(x.dtype)

    def _last(self, mean: Array, variance: Array, documents: SegmentMetadata) -> NormState:
        """Moments at each row's last token that is no padding; those of no token where there is none."""
        length = mean.shape[1]
        last = jnp.max(jnp.where(documents.valid, jnp.arange(length), -1), axis=1)
        at, some = jnp.maximum(last, 0)[:, None], last >= 0
        count = jnp.take_along_axis(documents.local_positions, at, 1)[:, 0].astype(jnp.int32) + 1
        mean, variance = (jnp.take_along_axis(value, at[..., None], 1)[:, 0] for value in (mean, variance))
        return NormState(
            count=jnp.where(some, count, 0),
            mean=jnp.where(some[:, None], mean, 0.0),
            var=jnp.where(some[:, None], variance, 1.0),
        )


def moments_so_far(
    groups: Float[Array, "batch seq groups size"], documents: SegmentMetadata
) -> tuple[Float[Array, "batch seq groups"], Float[Array, "batch seq groups"]]:
    """Mean and population variance of each group over its document up to each position, fp32."""
    each = groups.mean(-1)
    spread = jnp.square(groups - each[..., None]).mean(-1)
    first = jnp.arange(groups.shape[1]) - documents.local_positions
    # About a number near the mean no digits are lost; which one it is does not change the result.
    anchor = jax.lax.stop_gradient(jnp.take_along_axis(each, first[..., None], 1))
    shifted = each - anchor
    sums = sums_so_far(jnp.concatenate([shifted, spread + jnp.square(shifted)], -1), documents.run_ids)
    offset, second = jnp.split(sums / (documents.local_positions[..., None] + 1.0), 2, -1)
    return anchor + offset, second - jnp.square(offset)


def sums_so_far(
    values: Float[Array, "batch seq channels"], run_ids: Int[Array, "batch seq"]
) -> Float[Array, "batch seq channels"]:
    """Sum of each position and those before it in its run; `run_ids` ascend."""
    batch, length, channels = values.shape
    fill = -length % BLOCK
    values = jnp.pad(values, ((0, 0), (0, fill), (0, 0))).reshape(batch, -1, BLOCK, channels)
    runs = jnp.pad(run_ids, ((0, 0), (0, fill)), mode="edge").reshape(batch, -1, BLOCK)
    inside = _added(_same_run(runs, runs) & jnp.tri(BLOCK, dtype=bool), values)
    # What goes on into a block is the last run of the block before, and of it all that earlier blocks end with.
    last, number = runs[..., -1], runs.shape[1]
    before = jnp.pad(last[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    carried = _added(_same_run(before, last) & jnp.tri(number, k=-1, dtype=bool), inside[:, :, -1])
    goes_on = (runs == before[..., None])[..., None]
    sums = inside + jnp.where(goes_on, carried[:, :, None], 0.0)
    return sums.reshape(batch, -1, channels)[:, :length]


def _same_run(rows: Int[Array, "*lead m"], columns: Int[Array, "*lead k"]) -> Bool[Array, "*lead m k"]:
    return rows[..., :, None] == columns[..., None, :]


def _added(which: Bool[Array, "*lead m k"], values: Float[Array, "*lead k channels"]) -> Array:
    """Sums of the chosen values, in full fp32 on every device."""
    return jnp.matmul(which.astype(values.dtype), values, precision=jax.lax.Precision.HIGHEST)
