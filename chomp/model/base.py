"""What the step, evaluation and sampling ask of a language model."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from chomp.data.batch import Batch
from chomp.model.decoding import SamplingParams, continue_prompts


class ModelInputs(NamedTuple):
    """The part of a batch that a model reads, as device arrays of one shape.

    Attributes:
        input_ids: token ids. They are trusted: the data package checks them on the host.
        labels: unshifted, `labels[..., t]` is predicted from position `t - 1`; -100 where no loss is taken.
        segment_ids: number the documents of a row from 1, 0 is padding; given, they keep documents apart, and without
            them a row is one continuous text whose padding, if any, is at its end.
        source_ids: place in the mixture of each row's source, by which losses are summed; the model does not read it.
    """

    input_ids: Int[Array, "*accum batch seq"]
    labels: Int[Array, "*accum batch seq"]
    segment_ids: Int[Array, "*accum batch seq"] | None = None
    source_ids: Int[Array, "*accum batch 1"] | None = None


def model_inputs(batch: Batch, isolate: bool) -> ModelInputs:
    """Take from a batch what the model reads; `isolate` is `data.isolate_documents`."""
    segment_ids = jnp.asarray(batch.segment_ids) if isolate else None
    source_ids = None if batch.source_ids is None else jnp.asarray(batch.source_ids)
    return ModelInputs(jnp.asarray(batch.input_ids), jnp.asarray(batch.labels), segment_ids, source_ids)


class LanguageModel(eqx.Module):
    """A causal language model: next-token losses, logits, sampling and its cost.

    All array fields are parameters. `ModelInputs` are `[batch, seq]` here; `key` seeds dropout, without it there is
    none.
    """

    embedding_path: ClassVar[str]
    """Dotted path of the token embedding among the parameters."""

    @abc.abstractmethod
    def token_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
        """Return fp32 negative log-likelihoods in nats, `[B, T - 1]`, 0 where excluded, and how many count."""

    def loss_sum(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """Return the fp32 sum of token losses in nats and the int32 count of loss tokens.

        Sums and counts of several micro-batches add up exactly to those of one large batch.
        """
        losses, count = self.token_losses(inputs, key=key)
        return losses.sum(dtype=jnp.float32), count.astype(jnp.int32)

    def loss_sum_and_losses(
        self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, ""], Int[Array, ""], Float[Array, "batch targets"]]:
        """Return `loss_sum` with the token losses that it adds up, whose gradient is not taken."""
        losses, count = self.token_losses(inputs, key=key)
        return losses.sum(dtype=jnp.float32), count.astype(jnp.int32), jax.lax.stop_gradient(losses)

    @abc.abstractmethod
    def hidden_states(self, inputs: ModelInputs, *, key: PRNGKeyArray | None = None) -> Float[Array, "batch seq dim"]:
        """Return the final states, those that the output head reads, in the compute dtype."""

    @abc.abstractmethod
    def unembed(self, states: Float[Array, "*lead dim"]) -> Float[Array, "*lead vocab"]:
        """Return fp32 logits of final states: the output head."""

    @abc.abstractmethod
    def logits(
        self, input_ids: Int[Array, "batch seq"], segment_ids: Int[Array, "batch seq"] | None = None
    ) -> Float[Array, "batch seq vocab"]:
        """Return fp32 next-token logits without dropout."""

    @abc.abstractmethod
    def prefill(self, prompt_ids: Int[Array, "batch prompt"], capacity: int) -> tuple[Float[Array, "batch vocab"], Any]:
        """See `chomp.model.decoding.Decoder.prefill`."""

    @abc.abstractmethod
    def advance(self, memory: Any, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], Any]:
        """See `chomp.model.decoding.Decoder.advance`."""

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
        """Continue each prompt by `max_new_tokens` ids; returns prompt and continuation, int32.

        Compiled once for each combination of shapes and sampling settings, then reused.

        Args:
            prompt_ids: `[B, P]`, P >= 1, every row full (no padding).
            max_new_tokens: ids to add, >= 1.
            key: seeds the draw; unused at temperature 0.
            temperature: 0 picks the likeliest id.
            top_k: sample among the k likeliest ids; more than there are means all.
            top_p: sample among the likeliest ids that together reach this probability.
            eos_id: once drawn, the rest of the row is filled with it.
        """
        return continue_prompts(
            self, prompt_ids, max_new_tokens, key, SamplingParams(temperature, top_k, top_p), eos_id
        )

    @abc.abstractmethod
    def forward_flops_per_token(self, seq_len: int) -> float:
        """Return analytic floating-point operations of one token's forward pass in a row of `seq_len` tokens."""

    def flops_per_token(self, seq_len: int) -> float:
        """Return analytic training FLOPs per token: forward, and backward at twice the forward.

        Recomputation under `model.remat` is not counted: these are the model's operations, not the
        machine's (Chowdhery et al. 2022, appendix B, "model FLOPs utilization").
        """
        return 3.0 * self.forward_flops_per_token(seq_len)

    def recomputed_flops_per_token(self, seq_len: int, policy: str) -> float:
        """Return the forward FLOPs per token that a policy of `model.remat` computes again; 0 without layers."""
        return 0.0
