"""Megalodon through `megalodon-jax`: configuration, losses, sampling, cost."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from megalodon_jax import MegalodonConfig, MegalodonForCausalLM, generate
from megalodon_jax.layers.attention import ChunkedAttention, MegalodonAttention, NormalizedFFN
from megalodon_jax.layers.complex_ema import ComplexEMA
from megalodon_jax.layers.timestep_norm import TimestepNorm
from megalodon_jax.model import MegalodonBlock
from megalodon_jax.types import ModelCache

from chomp.config.model import ModelConfig
from chomp.errors import ConfigError
from chomp.model.attention import HalvedAttention
from chomp.model.base import ModelInputs
from chomp.model.cema import BlockwiseEMA
from chomp.model.flops import MegalodonFlops, mean_attention_span, megalodon_forward_flops
from chomp.model.head import HeadedModel
from chomp.model.megalodon_block import FeedForward, GatedAttention
from chomp.model.remat import RematBlock
from chomp.model.swap_layers import Swap, swap_layers
from chomp.model.timenorm import DocumentNorm
from chomp.parallel.gather import has_shards

_SAME_NAME = (
    "vocab_size", "model_dim", "num_layers", "num_heads", "z_dim", "value_dim", "ffn_hidden_dim", "cema_ndim",
    "chunk_size", "attention_window", "norm_num_groups", "norm_eps", "rope_base", "swiglu", "rescale_nffn",
    "scale_emb", "share_emb", "norm_affine", "dropout", "attention_dropout", "attention_dropout_mode",
    "hidden_dropout", "pad_token_id", "bos_token_id", "eos_token_id", "init_mode", "output_size",
)  # fmt: skip
"""Fields that the model section and `MegalodonConfig` share by name and meaning."""

_DTYPE_FIELDS = ("param_dtype", "compute_dtype", "accum_dtype", "attention_softmax_dtype")


_OWN_CEMA = ("blockwise", "parallel", "kernel")


def own_cema(cema: str, backend: str) -> str | None:
    """Which of chomp's own ways computes the moving average; None for the library's.

    Measured in docs/step.md: a loop over blocks is the fastest on CPUs; a GPU waits for the host in each of its turns.

    Args:
        cema: the `model.cema` setting.
        backend: JAX's platform name.
    """
    if cema == "auto":
        return "blockwise" if backend == "cpu" else "parallel"
    return cema if cema in _OWN_CEMA else None


def computed_by_documents(
    network: PyTree, cema: str = "blockwise", backend: str = "cpu", policy: str = "none"
) -> PyTree:
    """The same network with chomp's own moving average, normalisation and attention; parameters are shared.

    Args:
        cema: from `own_cema`.
        backend: JAX's platform name; kernels are run as usual operations on CPUs.
        policy: from `policy_of`; attention's part of it.
    """
    if cema == "kernel":
        # Pallas is imported only where its kernels are used.
        from chomp.model.cema_kernel import KernelEMA

        average = Swap(KernelEMA, interpret=backend == "cpu")
    else:
        average = Swap(BlockwiseEMA, parallel=cema == "parallel")
    inner = {
        ComplexEMA: average,
        TimestepNorm: Swap(DocumentNorm, by_channels=backend == "cpu"),
        ChunkedAttention: Swap(HalvedAttention, policy=policy, halve_first=backend == "cpu", by_heads=backend == "cpu"),
    }
    outer = {MegalodonAttention: Swap(GatedAttention, own_float32=backend == "cpu")}
    if backend == "cpu":
        outer[NormalizedFFN] = Swap(FeedForward)
    return swap_layers(swap_layers(network, inner), outer)


def with_remat(network: PyTree, policy: str) -> PyTree:
    """The same network whose layers are kept as a policy says."""
    keeps_all = policy == "none" and not has_shards(network)
    return network if keeps_all else swap_layers(network, {MegalodonBlock: Swap(RematBlock, policy=policy)})


def uses_associative_scan(cema: str, backend: str) -> bool:
    """Decide which of the library's scans runs over isolated documents, on the paths that are the library's.

    On two CPU cores the associative scan takes 1.7 times as long as the sequential one and 2.3 times its temporary
    memory; a sequential loop of tiny kernels is what accelerators are bad at.

    Args:
        cema: the `model.cema` setting.
        backend: JAX's platform name, e.g. "cpu" or "gpu".
    """
    return cema == "associative" or (cema != "sequential" and backend != "cpu")


def megalodon_config(config: ModelConfig, backend: str) -> MegalodonConfig:
    """Translate the model section.

    Raises:
        ConfigError: the widths do not fit together; the library's sentence names the numbers.
    """
    fields = {name: getattr(config, name) for name in _SAME_NAME}
    dtypes = {name: jnp.dtype(getattr(config, name)) for name in _DTYPE_FIELDS}
    scan = uses_associative_scan(config.cema, backend)
    try:
        return MegalodonConfig(**fields, **dtypes, use_associative_segment_scan=scan)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The `model` section does not describe a Megalodon: {error}.") from error


class MegalodonModel(HeadedModel):
    """A `MegalodonForCausalLM` behind the contract of `LanguageModel`."""

    embedding_path: ClassVar[str] = "model.embed.weight"

    network: MegalodonForCausalLM
    loss_chunk_size: int | None = eqx.field(static=True)

    @property
    def in_float32(self) -> bool:
        """See `HeadedModel.in_float32`."""
        return jnp.dtype(self.network.config.compute_dtype) == jnp.float32

    @property
    def head_weight(self) -> Float[Array, "vocab dim"]:
        """See `HeadedModel.head_weight`."""
        head = self.network.lm_head
        return self.network.model.embed.weight if head is None else head.weight

    def token_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
        """See `LanguageModel.token_losses`; in fp32 the library's, with which older runs continue."""
        if not self.in_float32:
            return super().token_losses(inputs, key=key)
        chunk = self.loss_chunk_size
        losses, count = self.network.compute_loss(
            inputs.input_ids,
            inputs.labels,
            segment_ids=inputs.segment_ids,
            deterministic=key is None,
            key=key,
            reduction="none",
            return_valid_count=True,
            # A chunk is filled up with tokens that do not count.
            loss_chunk_size=chunk if chunk is None else min(chunk, inputs.labels[:, 1:].size),
        )
        return losses, count.astype(jnp.int32)

    def hidden_states(self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None) -> Float[Array, "batch seq dim"]:
        """See `LanguageModel.hidden_states`.

        No `attention_mask` is passed: padding is either segment 0 or, in one continuous row, at the end where no
        loss token can see it, and an all-true mask triples the time to compile.
        """
        found, _ = self.network.model(
            inputs.input_ids, segment_ids=inputs.segment_ids, deterministic=key is None, key=key
        )
        return found.astype(self.network.config.compute_dtype)

    def logits(
        self, input_ids: Int[Array, "batch seq"], segment_ids: Int[Array, "batch seq"] | None = None
    ) -> Float[Array, "batch seq vocab"]:
        """See `LanguageModel.logits`."""
        logits, _ = self.network(input_ids, segment_ids=segment_ids, deterministic=True)
        return logits

    def prefill(
        self, prompt_ids: Int[Array, "batch prompt"], capacity: int
    ) -> tuple[Float[Array, "batch vocab"], ModelCache]:
        """See `chomp.model.decoding.Decoder`; the library remembers a chunk, or a window, whatever the capacity.

        Raises:
            ConfigError: the head is wider or narrower than the embedding, so its ids cannot be fed back.
        """
        self._check_head()
        return self._read(prompt_ids, None)

    def advance(self, memory: ModelCache, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], ModelCache]:
        """See `chomp.model.decoding.Decoder`."""
        return self._read(ids[:, None], memory)

    def generate(
        self,
        prompt_ids: Int[Array, "batch prompt"],
        max_new_tokens: int,
        *,
        key: PRNGKeyArray,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        eos_id: int | None = None,
    ) -> Int[Array, "batch total"]:
        """See `LanguageModel.generate`: `megalodon_jax.generate`, which draws the ids that `tokens_as_they_come` draws.

        Raises:
            ConfigError: see `prefill`.
        """
        self._check_head()
        top_k = None if top_k is None else min(top_k, self.network.config.vocab_size)
        ids, _, _ = generate(
            self.network,
            prompt_ids.astype(jnp.int32),
            max_new_tokens,
            key,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            eos_token_id=eos_id,
        )
        return ids

    def _check_head(self) -> None:
        config = self.network.config
        if config.effective_output_size != config.vocab_size:
            raise ConfigError(
                f"Sampling needs model.output_size ({config.effective_output_size}) equal to model.vocab_size "
                f"({config.vocab_size}): set model.output_size to -1."
            )

    def _read(
        self, ids: Int[Array, "batch new"], memory: ModelCache | None
    ) -> tuple[Float[Array, "batch vocab"], ModelCache]:
        logits, memory = self.network(ids, cache=memory, return_cache=True, deterministic=True)
        assert memory is not None
        return logits[:, -1], memory

    def forward_flops_per_token(self, seq_len: int) -> float:
        """Sum of `MegalodonFlops` at the mean number of keys a causal query sees in its chunk.

        Isolated documents shorten that span by an amount only the data knows; the attention term is then an upper
        bound.
        """
        return self._flops(seq_len).total

    def recomputed_flops_per_token(self, seq_len: int, policy: str) -> float:
        """See `LanguageModel.recomputed_flops_per_token`; nothing in the backward pass needs a layer's last product."""
        parts = self._flops(seq_len)
        layers = parts.total - parts.head - parts.ffn / (3 if self.network.config.swiglu else 2)
        return {"full": layers, "dots": parts.attention + parts.cema, "attention": parts.attention}.get(policy, 0.0)

    def _flops(self, seq_len: int) -> MegalodonFlops:
        config = self.network.config
        span = mean_attention_span(seq_len, config.chunk_size, config.attention_window)
        return megalodon_forward_flops(config, span)
