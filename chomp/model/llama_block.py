"""A block of a Llama: RMSNorm, attention and SwiGLU beside the residual stream."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from chomp.config.model import ModelConfig
from chomp.model.blockwise_attention import blockwise_attention
from chomp.model.residual import Residual, connection
from chomp.model.rotary import RotaryTable, rotated

INIT_STD = 0.02
# What cuDNN's fused attention takes (jax.nn.dot_product_attention).
FUSED_HEAD_MULTIPLE, FUSED_HEAD_MOST = 8, 128


class Linear(eqx.Module):
    """A product with `weight.T`, in the dtype of its input."""

    weight: Float[Array, "outputs inputs"]

    def __init__(self, inputs: int, outputs: int, dtype: Any, *, std: float = INIT_STD, key: PRNGKeyArray) -> None:
        """Draw weights from a normal distribution of standard deviation `std`."""
        self.weight = (std * jax.random.normal(key, (outputs, inputs))).astype(dtype)

    def __call__(self, x: Float[Array, "*lead inputs"]) -> Float[Array, "*lead outputs"]:
        """Map the last axis."""
        # With tokens in one axis, XLA for CPUs writes no transposed copy of them for the gradient of the weight.
        mapped = x.reshape(-1, x.shape[-1]) @ self.weight.astype(x.dtype).T
        return mapped.reshape(*x.shape[:-1], -1)


class RMSNorm(eqx.Module):
    """Divide by the root mean square of the last axis, in fp32, then scale (Zhang and Sennrich 2019)."""

    weight: Float[Array, " dim"]
    eps: float = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*lead dim"]) -> Float[Array, "*lead dim"]:
        """Normalise; the result has the dtype of `x`."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * scale * self.weight.astype(jnp.float32)).astype(x.dtype)


class KeyValues(NamedTuple):
    """Keys, already rotated, and values of one layer, `[B, S, kv_heads, head_dim]`."""

    k: Float[Array, "batch keys kv_heads dim"]
    v: Float[Array, "batch keys kv_heads dim"]


class Attention(eqx.Module):
    """Causal attention in which `heads / kv_heads` queries share a key and a value."""

    wq: Linear
    wk: Linear
    wv: Linear
    wo: Linear
    heads: int = eqx.field(static=True)
    kv_heads: int = eqx.field(static=True)
    implementation: str = eqx.field(static=True)
    interpret: bool = eqx.field(static=True)

    def __init__(self, config: ModelConfig, *, backend: str, key: PRNGKeyArray) -> None:
        """Draw weights; the output's are smaller in deep stacks, as every layer adds to the residual stream."""
        dim, self.heads, self.kv_heads = config.model_dim, config.num_heads, kv_heads(config)
        self.implementation, self.interpret = attention_implementation(config, backend), backend == "cpu"
        width, dtype = dim // self.heads, config.param_dtype
        keys = jax.random.split(key, 4)
        self.wq = Linear(dim, dim, dtype, key=keys[0])
        self.wk = Linear(dim, self.kv_heads * width, dtype, key=keys[1])
        self.wv = Linear(dim, self.kv_heads * width, dtype, key=keys[2])
        self.wo = Linear(dim, dim, dtype, std=residual_std(config), key=keys[3])

    def keys(self, x: Float[Array, "batch seq dim"], table: RotaryTable) -> KeyValues:
        """Return keys and values of tokens."""
        shape = (*x.shape[:2], self.kv_heads, -1)
        return KeyValues(rotated(self.wk(x).reshape(shape), table), self.wv(x).reshape(shape))

    def __call__(
        self,
        x: Float[Array, "batch seq dim"],
        keys: KeyValues,
        table: RotaryTable,
        mask: Bool[Array, "batch 1 seq keys"] | None,
        *,
        is_causal: bool,
        window: int | None = None,
        runs: Int[Array, "batch seq"] | None = None,
    ) -> Float[Array, "batch seq dim"]:
        """Attend from `x` to `keys` where the mask, causality and the window allow it.

        Args:
            runs: the form of a mask for `blockwise` and `flash`: a query sees the keys of its own run.
        """
        query = rotated(self.wq(x).reshape(*x.shape[:2], self.heads, -1), table)
        if self.implementation == "flash" and is_causal:
            # Pallas is imported only where its kernels are used.
            from chomp.model.flash_attention import flash_attention

            assert window is None, "the rules of a configuration refuse it"
            mixed = flash_attention(query, keys.k, keys.v, runs, interpret=self.interpret)
        elif self.implementation == "blockwise" and is_causal:
            mixed = blockwise_attention(
                query / math.sqrt(query.shape[-1]), keys.k, keys.v, _first_seen(x, runs, window)
            )
        else:
            mixed = jax.nn.dot_product_attention(
                query,
                keys.k,
                keys.v,
                mask=mask,
                is_causal=is_causal,
                local_window_size=None if window is None else (window - 1, 0),
                implementation="cudnn" if self.implementation == "cudnn" else "xla",
            )
        return self.wo(mixed.reshape(x.shape))


def _first_seen(
    x: Float[Array, "batch seq dim"], runs: Int[Array, "batch seq"] | None, window: int | None
) -> Int[Array, "batch seq"]:
    """The first position that each one sees: where its run begins, or its window does."""
    positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
    first = jnp.zeros_like(positions)
    if runs is not None:
        begins = jnp.pad(runs[:, 1:] != runs[:, :-1], ((0, 0), (1, 0)))
        first = jax.lax.cummax(jnp.where(begins, positions, 0), axis=1)
    return first if window is None else jnp.maximum(first, positions - window + 1)


class FeedForward(eqx.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))` (Shazeer 2020, arXiv 2002.05202)."""

    gate: Linear
    up: Linear
    down: Linear

    def __init__(self, config: ModelConfig, *, key: PRNGKeyArray) -> None:
        """Draw weights."""
        dim, hidden, dtype = config.model_dim, config.ffn_hidden_dim, config.param_dtype
        keys = jax.random.split(key, 3)
        self.gate = Linear(dim, hidden, dtype, key=keys[0])
        self.up = Linear(dim, hidden, dtype, key=keys[1])
        self.down = Linear(hidden, dim, dtype, std=residual_std(config), key=keys[2])

    def __call__(self, x: Float[Array, "batch seq dim"]) -> Float[Array, "batch seq dim"]:
        """Map every token."""
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


Mix = Callable[[Attention, Array], Array]
Drop = Callable[[Array], Array]


class Block(eqx.Module):
    """Attention, then the feed-forward layer, each behind a norm and beside the residual stream, or several."""

    attn_norm: RMSNorm
    attn: Attention
    attn_residual: Residual
    ffn_norm: RMSNorm
    ffn: FeedForward
    ffn_residual: Residual

    def __init__(self, config: ModelConfig, number: int, *, backend: str, key: PRNGKeyArray) -> None:
        """Draw weights of the block of this number, from 0."""
        attention_key, feed_forward_key = jax.random.split(key)
        self.attn_norm, self.ffn_norm = norm(config), norm(config)
        self.attn = Attention(config, backend=backend, key=attention_key)
        self.ffn = FeedForward(config, key=feed_forward_key)
        self.attn_residual, self.ffn_residual = (
            connection(config.residual_streams, place) for place in (2 * number, 2 * number + 1)
        )

    def __call__(
        self, x: Float[Array, "*streams batch seq dim"], mix: Mix, drop: tuple[Drop, Drop] = (lambda x: x, lambda x: x)
    ) -> Float[Array, "*streams batch seq dim"]:
        """Add what attention and the feed-forward layer find.

        Args:
            mix: calls the attention with the normalised tokens and with keys of the caller's choice.
            drop: dropout of what is added.
        """
        x = self.attn_residual(x, lambda x: drop[0](mix(self.attn, self.attn_norm(x))))
        return self.ffn_residual(x, lambda x: drop[1](self.ffn(self.ffn_norm(x))))


def kv_heads(config: ModelConfig) -> int:
    """Heads of keys and values."""
    return config.num_kv_heads or config.num_heads


def residual_std(config: ModelConfig) -> float:
    """Standard deviation of weights that write to the residual stream, to which 2 of them per layer add up."""
    return INIT_STD / math.sqrt(2 * config.num_layers)


def norm(config: ModelConfig) -> RMSNorm:
    """A norm that changes nothing but the size yet."""
    return RMSNorm(jnp.ones(config.model_dim, config.param_dtype), config.norm_eps)


def attention_implementation(config: ModelConfig, backend: str) -> str:
    """Which implementation computes attention: `blockwise`, `flash`, `cudnn` or `xla`.

    Args:
        backend: JAX's platform name; `auto` is cuDNN on "gpu" for what it takes, `blockwise` in fp32 on "cpu", and XLA
            otherwise.
    """
    if config.attention != "auto":
        return config.attention
    if backend == "cpu" and config.compute_dtype == "float32":
        return "blockwise"
    return "cudnn" if backend == "gpu" and takes_fused_attention(config) else "xla"


def takes_fused_attention(config: ModelConfig) -> bool:
    """Whether cuDNN's kernel computes attention of this shape and dtype."""
    width = config.model_dim // config.num_heads
    return config.compute_dtype == "bfloat16" and width % FUSED_HEAD_MULTIPLE == 0 and width <= FUSED_HEAD_MOST
