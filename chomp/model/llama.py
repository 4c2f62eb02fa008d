"""A Llama-style decoder: RMSNorm, rotary positions, grouped-query attention and SwiGLU, without biases.

The architecture of Touvron et al. 2023 (arXiv 2302.13971) with grouped queries (Ainslie et al. 2023, arXiv
2305.13245), with rotary positions (`chomp.model.rotary`).
"""

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from megalodon_jax.layers.segments import segment_runs_and_local_positions

from chomp.config.model import ModelConfig
from chomp.model.base import ModelInputs
from chomp.model.flops import mean_attention_span
from chomp.model.head import HeadedModel, logits_of
from chomp.model.llama_block import INIT_STD, Attention, Block, KeyValues, Linear, RMSNorm, norm
from chomp.model.remat import policy_of, recompute_attention, recompute_layer
from chomp.model.residual import expand_streams, merge_streams, mixing_flops
from chomp.model.rotary import RotaryRates, RotaryTable, rates_of, rotary_table


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
    rates: RotaryRates = eqx.field(static=True)
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
        self.rates = rates_of(config)
        self.window = config.attention_window
        self.streams = config.residual_streams
        self.dropout = config.dropout
        self.policy = policy_of(config)
        self.loss_chunk_size = config.loss_chunk_size

    @property
    def in_float32(self) -> bool:
        """See `HeadedModel.in_float32`."""
        return self.compute_dtype == jnp.float32

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
            if self.blocks[0].attn.implementation not in ("blockwise", "flash"):
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
        return rotary_table(positions, self.embed.weight.shape[1] // attention.heads, self.rates)

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
        return self._layers_flops(seq_len) + 2.0 * dim * vocab

    def recomputed_flops_per_token(self, seq_len: int, policy: str) -> float:
        """See `LanguageModel.recomputed_flops_per_token`; `attention` includes the projections of its input.

        A layer's last product is needed by nothing in the backward pass.
        """
        scores, block = self._scores_flops(seq_len), self.blocks[0]
        inputs = _products((block.attn.wq, block.attn.wk, block.attn.wv))
        layers = len(self.blocks)
        return {
            "full": self._layers_flops(seq_len) - layers * _products(block.ffn.down),
            "dots": layers * scores,
            "attention": layers * (scores + inputs),
        }.get(policy, 0.0)

    def _layers_flops(self, seq_len: int) -> float:
        block, dim = self.blocks[0], self.embed.weight.shape[1]
        streams = 2 * mixing_flops(self.streams, dim)
        return len(self.blocks) * (_products((block.attn, block.ffn)) + self._scores_flops(seq_len) + streams)

    def _scores_flops(self, seq_len: int) -> float:
        return 4.0 * mean_attention_span(seq_len, seq_len, self.window) * self.embed.weight.shape[1]


def _products(layers: Any) -> float:
    """Two operations per weight."""
    return 2.0 * sum(math.prod(matrix.shape) for matrix in jax.tree.leaves(layers))


def _ring(part: Float[Array, "batch seq heads dim"], kept: Int[Array, " n"], capacity: int) -> Array:
    """The kept positions of keys or values, each in the slot of its position in a ring."""
    ring = jnp.zeros((part.shape[0], capacity, *part.shape[2:]), part.dtype)
    return ring.at[:, kept % capacity].set(part[:, kept])
