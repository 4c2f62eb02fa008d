"""A Llama-style decoder: RMSNorm, rotary positions, grouped-query attention and SwiGLU, without biases.

The architecture of Touvron et al. 2023 (arXiv 2302.13971) with grouped queries (Ainslie et al. 2023, arXiv
2305.13245), with rotary positions (`chomp.model.rotary`).
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax.layers.segments import segment_runs_and_local_positions

from chomp.config.model import ModelConfig
from chomp.model.base import ModelInputs
from chomp.model.flops import mean_attention_span
from chomp.model.head import HeadedModel, logits_of
from chomp.model.remat import policy_of, recompute_attention, recompute_layer
from chomp.model.residual import Residual, connection, expand_streams, merge_streams, mixing_flops
from chomp.model.rotary import RotaryTable, rotary_table, rotated

INIT_STD = 0.02
ROPE_BASE = 10_000.0
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
        return x @ self.weight.astype(x.dtype).T


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
            runs: the flash kernel's form of a mask: a query sees the keys of its own run.
        """
        query = rotated(self.wq(x).reshape(*x.shape[:2], self.heads, -1), table)
        if self.implementation == "flash" and is_causal:
            # Pallas is imported only where its kernels are used.
            from chomp.model.flash_attention import flash_attention

            assert window is None, "the rules of a configuration refuse it"
            mixed = flash_attention(query, keys.k, keys.v, runs, interpret=self.interpret)
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


class KVCache(NamedTuple):
    """What decoding remembers: the last tokens' keys of each layer, in a ring, and how many tokens there were."""

    layers: tuple[KeyValues, ...]
    seen: Int[Array, ""]


class LlamaModel(HeadedModel):
    """See the module; reads widths, `num_kv_heads`, `attention_window`, `residual_streams`, `dropout` and dtypes."""

    embedding_path: ClassVar[str] = "embed.weight"

    embed: eqx.nn.Embedding
    blocks: tuple[Block, ...]
    norm: RMSNorm
    lm_head: Linear | None
    compute_dtype: jnp.dtype = eqx.field(static=True)
    rope_base: float = eqx.field(static=True)
    window: int | None = eqx.field(static=True)
    streams: int = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    policy: str = eqx.field(static=True)
    loss_chunk_size: int | None = eqx.field(static=True)

    def __init__(self, config: ModelConfig, *, backend: str = "cpu", key: PRNGKeyArray) -> None:
        """Draw parameters; `config.vocab_size` must be set.

        Args:
            backend: JAX's platform name, see `attention_implementation`.
        """
        assert config.vocab_size is not None
        embed_key, head_key, *keys = jax.random.split(key, config.num_layers + 2)
        shape, dtype = (config.vocab_size, config.model_dim), config.param_dtype
        self.embed = eqx.nn.Embedding(weight=(INIT_STD * jax.random.normal(embed_key, shape)).astype(dtype))
        self.blocks = tuple(Block(config, i, backend=backend, key=block_key) for i, block_key in enumerate(keys))
        self.norm = norm(config)
        self.lm_head = None if config.share_emb else Linear(config.model_dim, config.vocab_size, dtype, key=head_key)
        self.compute_dtype = jnp.dtype(config.compute_dtype)
        self.rope_base = config.rope_base or ROPE_BASE
        self.window = config.attention_window
        self.streams = config.residual_streams
        self.dropout = config.dropout
        self.policy = policy_of(config)
        self.loss_chunk_size = config.loss_chunk_size

    @property
    def head_weight(self) -> Float[Array, "vocab dim"]:
        """See `HeadedModel.head_weight`."""
        return self.embed.weight if self.lm_head is None else self.lm_head.weight

    def hidden(
        self,
        input_ids: Int[Array, "batch seq"],
        segment_ids: Int[Array, "batch seq"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "batch seq dim"]:
        """Return the normalised states before the head.

        Args:
            key: seeds dropout; None trains or evaluates without it.
        """
        mask, runs, positions = None, None, jnp.broadcast_to(jnp.arange(input_ids.shape[1]), input_ids.shape)
        if segment_ids is not None:
            runs, positions = segment_runs_and_local_positions(segment_ids)
            if self.blocks[0].attn.implementation != "flash":
                mask = runs[:, None, :, None] == runs[:, None, None, :]
        table = self._table(positions)

        def mix(attn: Attention, x: Any) -> Any:
            def attend(attn: Attention, x: Any) -> Any:
                return attn(x, attn.keys(x, table), table, mask, is_causal=True, window=self.window, runs=runs)

            return recompute_attention(attend, self.policy)(attn, x)

        def run(block: Block, x: Any, key: PRNGKeyArray | None) -> Any:
            first, second = (None, None) if key is None else jax.random.split(key)
            return block(x, mix, (lambda x: self._dropped(x, first), lambda x: self._dropped(x, second)))

        run = recompute_layer(run, self.policy)
        keys = [None] * (len(self.blocks) + 1) if key is None else jax.random.split(key, len(self.blocks) + 1)
        x = expand_streams(self._dropped(self._embedded(input_ids), keys[0]), self.streams)
        for block, block_key in zip(self.blocks, keys[1:], strict=True):
            x = run(block, x, block_key)
        return self.norm(merge_streams(x, self.streams))

    def _embedded(self, ids: Int[Array, "batch seq"]) -> Float[Array, "batch seq dim"]:
        return self.embed.weight[ids].astype(self.compute_dtype)

    def _table(self, positions: Int[Array, "batch seq"]) -> RotaryTable:
        attention = self.blocks[0].attn
        return rotary_table(positions, self.embed.weight.shape[1] // attention.heads, self.rope_base)

    def _dropped(self, x: Float[Array, "batch seq dim"], key: PRNGKeyArray | None) -> Float[Array, "batch seq dim"]:
        return x if key is None or self.dropout == 0.0 else eqx.nn.Dropout(self.dropout)(x, key=key)

    def hidden_states(self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None) -> Float[Array, "batch seq dim"]:
        """See `LanguageModel.hidden_states`."""
        return self.hidden(inputs.input_ids, inputs.segment_ids, key=key)

    def logits(
        self, input_ids: Int[Array, "batch seq"], segment_ids: Int[Array, "batch seq"] | None = None
    ) -> Float[Array, "batch seq vocab"]:
        """See `LanguageModel.logits`."""
        return logits_of(self.hidden(input_ids, segment_ids), self.head_weight)

    # Decoding --------------------------------------------------------------------------

    def prefill(
        self, prompt_ids: Int[Array, "batch prompt"], capacity: int
    ) -> tuple[Float[Array, "batch vocab"], KVCache]:
        """See `chomp.model.decoding.Decoder`; with `attention_window` no more than that is remembered.

        Rotary angles are those of positions in the whole text, however much of it has been forgotten: attention
        depends on how far two tokens are apart, and that stays true.
        """
        rows, length = prompt_ids.shape
        capacity = capacity if self.window is None else min(capacity, self.window)
        table = self._table(jnp.broadcast_to(jnp.arange(length), (rows, length)))
        kept = jnp.arange(max(0, length - capacity), length)
        layers: list[KeyValues] = []

        def mix(attn: Attention, x: Any) -> Any:
            keys = attn.keys(x, table)
            layers.append(KeyValues(*(_ring(part, kept, capacity) for part in keys)))
            return attn(x, keys, table, None, is_causal=True, window=self.window)

        x = expand_streams(self._embedded(prompt_ids), self.streams)
        for block in self.blocks:
            x = block(x, mix)
        logits = logits_of(self.norm(merge_streams(x, self.streams)[:, -1]), self.head_weight)
        return logits, KVCache(tuple(layers), jnp.asarray(length, jnp.int32))

    def advance(self, memory: KVCache, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], KVCache]:
        """See `chomp.model.decoding.Decoder`."""
        capacity = memory.layers[0].k.shape[1]
        slot = memory.seen % capacity
        table = self._table(jnp.broadcast_to(memory.seen, (ids.shape[0], 1)))
        # Slots are filled from the first one on; once the ring is full, all of it counts.
        mask = jnp.broadcast_to(jnp.arange(capacity) <= memory.seen, (ids.shape[0], 1, 1, capacity))
        layers: list[KeyValues] = []

        def mix(attn: Attention, x: Any) -> Any:
            pairs = zip(memory.layers[len(layers)], attn.keys(x, table), strict=True)
            layers.append(
                KeyValues(*(jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=1) for old, new in pairs))
            )
            return attn(x, layers[-1], table, mask, is_causal=False)

        x = expand_streams(self._embedded(ids[:, None]), self.streams)
        for block in self.blocks:
            x = block(x, mix)
        last = merge_streams(x, self.streams)[:, 0]
        return logits_of(self.norm(last), self.head_weight), KVCache(tuple(layers), memory.seen + 1)

    def forward_flops_per_token(self, seq_len: int) -> float:
        """Two per weight of a projection and the head, 4 D per key that a query sees, and what several streams cost."""
        vocab, dim = self.embed.weight.shape
        block = self.blocks[0]
        matrices = jax.tree.leaves((block.attn, block.ffn))
        projections = 2.0 * sum(math.prod(matrix.shape) for matrix in matrices)
        span = mean_attention_span(seq_len, seq_len, self.window)
        streams = 2 * mixing_flops(self.streams, dim)
        return len(self.blocks) * (projections + 4.0 * span * dim + streams) + 2.0 * dim * vocab


def _ring(part: Float[Array, "batch seq heads dim"], kept: Int[Array, " n"], capacity: int) -> Array:
    """The kept positions of keys or values, each in the slot of its position in a ring."""
    ring = jnp.zeros((part.shape[0], capacity, *part.shape[2:]), part.dtype)
    return ring.at[:, kept % capacity].set(part[:, kept])


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
    """Which implementation computes attention: `flash`, `cudnn` or `xla`.

    Args:
        backend: JAX's platform name; `auto` is cuDNN on "gpu" for what it takes, and XLA otherwise.
    """
    if config.attention == "auto":
        return "cudnn" if backend == "gpu" and takes_fused_attention(config) else "xla"
    return config.attention


def takes_fused_attention(config: ModelConfig) -> bool:
    """Whether cuDNN's kernel computes attention of this shape and dtype."""
    width = config.model_dim // config.num_heads
    return config.compute_dtype == "bfloat16" and width % FUSED_HEAD_MULTIPLE == 0 and width <= FUSED_HEAD_MOST
