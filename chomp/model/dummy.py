"""The dummy model: an embedding and one linear layer, to try everything around a model in seconds."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from chomp.config.model import ModelConfig
from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.loss import loss_mask


class DummyModel(LanguageModel):
    """Predict the next token from the current one alone: logits = embed[id] @ head.T + bias.

    Reads `vocab_size`, `model_dim`, `dropout` and the dtypes of the model section. Documents cannot leak into each
    other because no position sees another one.
    """

    embedding_path: ClassVar[str] = "embed.weight"

    embed: eqx.nn.Embedding
    lm_head: eqx.nn.Linear
    dropout: float = eqx.field(static=True)
    compute_dtype: jnp.dtype = eqx.field(static=True)

    def __init__(self, config: ModelConfig, *, key: PRNGKeyArray) -> None:
        """Draw parameters; `config.vocab_size` must be set."""
        assert config.vocab_size is not None
        embed_key, head_key = jax.random.split(key)
        stored = jnp.dtype(config.param_dtype)
        self.embed = eqx.nn.Embedding(config.vocab_size, config.model_dim, dtype=stored, key=embed_key)
        self.lm_head = eqx.nn.Linear(config.model_dim, config.vocab_size, dtype=stored, key=head_key)
        self.dropout = config.dropout
        self.compute_dtype = jnp.dtype(config.compute_dtype)

    def hidden_states(self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None) -> Float[Array, "batch seq dim"]:
        """See `LanguageModel.hidden_states`; `segment_ids` change nothing here."""
        found = self.embed.weight[inputs.input_ids]
        if key is not None and self.dropout > 0.0:
            found = eqx.nn.Dropout(self.dropout)(found, key=key)
        return found.astype(self.compute_dtype)

    def unembed(self, states: Float[Array, "*lead dim"]) -> Float[Array, "*lead vocab"]:
        """See `LanguageModel.unembed`."""
        weight = self.lm_head.weight.astype(self.compute_dtype)
        products = jnp.matmul(states.astype(self.compute_dtype), weight.T, preferred_element_type=jnp.float32)
        assert self.lm_head.bias is not None
        return products + self.lm_head.bias.astype(jnp.float32)

    def token_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
        """See `LanguageModel.token_losses`."""
        hidden = self.embed.weight[inputs.input_ids[:, :-1]]
        if key is not None and self.dropout > 0.0:
            hidden = eqx.nn.Dropout(self.dropout)(hidden, key=key)
        log_probs = jax.nn.log_softmax(self.unembed(hidden), axis=-1)
        counted = loss_mask(inputs.labels, inputs.segment_ids)
        targets = jnp.where(counted, inputs.labels[:, 1:], 0)
        chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
        return jnp.where(counted, -chosen, 0.0), counted.sum(dtype=jnp.int32)

    def logits(
        self, input_ids: Int[Array, "batch seq"], segment_ids: Int[Array, "batch seq"] | None = None
    ) -> Float[Array, "batch seq vocab"]:
        """See `LanguageModel.logits`; `segment_ids` change nothing here."""
        return self.unembed(self.embed.weight[input_ids])

    def prefill(
        self, prompt_ids: Int[Array, "batch prompt"], capacity: int
    ) -> tuple[Float[Array, "batch vocab"], None]:
        """See `chomp.model.decoding.Decoder`; the last id is all there is to know."""
        return self.advance(None, prompt_ids[:, -1])

    def advance(self, memory: None, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], None]:
        """See `chomp.model.decoding.Decoder`."""
        return self.unembed(self.embed.weight[ids]), None

    def forward_flops_per_token(self, seq_len: int) -> float:
        """Two per head weight: 2 D vocabulary; a lookup costs none."""
        vocab, dim = self.lm_head.weight.shape
        return 2.0 * dim * vocab
