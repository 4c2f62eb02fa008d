"""Causal attention by JAX's Pallas kernel for GPUs (Triton lowering): no array has the length squared.

Flash attention (Dao et al. 2022, arXiv 2205.14135): a program goes over the keys of a block of queries, up to the
diagonal, and keeps sums instead of scores. Documents are compared inside the kernel by the number of their run. The
backward pass computes the scores again, without atomic additions.
"""

import math

import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha
from jaxtyping import Array, Float, Int

# Bytes of a head's row at most -> blocks that fit the shared memory of compute capabilities 8.0, 8.9, 9.0 and 12.0, and
# their registers: ptxas spills one, in fp32 on 12.0. Their speed has not been measured.
_BLOCKS = {
    128: BlockSizes(128, 64, block_q_dkv=64, block_kv_dkv=32, block_q_dq=32, block_kv_dq=64),
    256: BlockSizes(128, 64, block_q_dkv=32, block_kv_dkv=32, block_q_dq=32, block_kv_dq=32),
    512: BlockSizes(64, 32, block_q_dkv=16, block_kv_dkv=16, block_q_dq=16, block_kv_dq=16),
}
# What tensor cores take at least, and the largest block above: a row is whole blocks.
_LEAST, _MOST = 16, 128


def flash_attention(
    query: Float[Array, "batch seq heads dim"],
    key: Float[Array, "batch seq kv_heads dim"],
    value: Float[Array, "batch seq kv_heads dim"],
    runs: Int[Array, "batch seq"] | None,
    *,
    interpret: bool,
) -> Float[Array, "batch seq heads dim"]:
    """Attend to earlier positions of the same run, and to the position itself.

    Args:
        query: of 16 to 128 channels a head.
        key, value: each shared by `heads / kv_heads` queries.
        runs: a number for each document of a row, no number twice; None is one document.
        interpret: run the kernels' steps as usual operations, on a device that has no kernels.
    """
    length, width = query.shape[1], query.shape[-1]
    block = min(max(pl.next_power_of_2(length), _LEAST), _MOST)
    spare = -length % block
    shared = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(part, shared, axis=2) if shared > 1 else part for part in (key, value))
    # Behind the end, where causality keeps the padding from every query.
    query, key, value = (_padded(part, spare) for part in (query, key, value))
    mixed = mha(
        query,
        key,
        value,
        None if runs is None else _padded(runs, spare),
        sm_scale=1 / math.sqrt(width),
        causal=True,
        block_sizes=_blocks(width * query.dtype.itemsize),
        interpret=interpret,
    )
    return mixed[:, :length]


def _padded(rows: Array, spare: int) -> Array:
    return jnp.pad(rows, ((0, 0), (0, spare), *((0, 0),) * (rows.ndim - 2))) if spare else rows


def _blocks(row_bytes: int) -> BlockSizes:
    return next(sizes for most, sizes in _BLOCKS.items() if row_bytes <= most)
