"""What a step minimises: the next token's cross-entropy alone, or with terms that have meters of their own.

    objective = mean of the next token's cross-entropy, smoothed, over the kept of the loss tokens
              + z_loss x mean of the squared log-normaliser over all loss tokens
              + mtp_weight x mean over the heads of each head's mean cross-entropy over its own targets

Every mean is one over the whole batch: its sum is added up over micro-batches and divided once. How many tokens a term
has is known from labels and documents alone, before the first micro-batch, which lets one backward pass for each
micro-batch carry all terms at their final weights.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from chomp.config.train import ObjectiveConfig
from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.build import ModelDef
from chomp.model.head import by_chunks
from chomp.model.loss import loss_mask
from chomp.model.mtp import PredictionHead, heads_of, later_mask, shifted

Counts: TypeAlias = Mapping[str, Int[Array, ""]]


class SourceSums(NamedTuple):
    """Sums by source of a mixture.

    Attributes:
        loss: fp32 negative log-likelihoods of the next tokens in nats.
        tokens: int32 loss tokens.
    """

    loss: Float[Array, " sources"]
    tokens: Int[Array, " sources"]


class LossSums(NamedTuple):
    """Sums over one micro-batch.

    Attributes:
        loss: fp32 negative log-likelihoods of the next tokens in nats, over all loss tokens, whatever is minimised.
        tokens: int32 loss tokens.
        terms: fp32 sum of each further term over its own tokens.
        by_source: the first two by source; None without a mixture.
    """

    loss: Float[Array, ""]
    tokens: Int[Array, ""]
    terms: dict[str, Float[Array, ""]]
    by_source: SourceSums | None = None


class Objective(abc.ABC):
    """Sums of one micro-batch, and the one among them whose gradient is taken."""

    @abc.abstractmethod
    def counts(self, inputs: ModelInputs) -> dict[str, Int[Array, ""]]:
        """Return the tokens of each further term in a whole batch, `[accum, batch, seq]`."""

    @abc.abstractmethod
    def sums(
        self, params: PyTree, inputs: ModelInputs, counts: Counts, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], LossSums]:
        """Return what is differentiated, and what is measured, in one micro-batch `[batch, seq]`.

        Args:
            counts: from `counts` of the whole batch.

        Returns:
            The micro-batch's part of the objective times the loss tokens of the whole batch, and the sums.
        """


def build_objective(config: ObjectiveConfig, model_def: ModelDef, sources: int = 0) -> Objective:
    """Make the objective of a model; with every term off it is the model's own loss.

    Args:
        sources: how many sources are mixed, whose losses are summed apart.
    """
    assert config.mtp_heads == model_def.mtp_heads, "the model was built with other heads than the objective trains"
    plain = not (config.label_smoothing or config.z_loss or config.mtp_heads) and config.token_filter_keep == 1
    return NextToken(model_def, sources) if plain else AuxiliaryLosses(config, model_def, sources)


def sums_by_source(losses: Float[Array, "batch targets"], inputs: ModelInputs, sources: int) -> SourceSums | None:
    """Return sums of token losses, 0 where excluded, by the source of each row; None without sources."""
    if not sources:
        return None
    assert inputs.source_ids is not None
    counted = loss_mask(inputs.labels, inputs.segment_ids)
    # A sum for each source has a fixed order, which a scatter on a GPU has not.
    of_source = inputs.source_ids[:, 0] == jnp.arange(sources)[:, None]
    by_row, tokens = losses.sum(axis=1, dtype=jnp.float32), counted.sum(axis=1, dtype=jnp.int32)
    return SourceSums(
        jnp.where(of_source, by_row, 0.0).sum(axis=1), jnp.where(of_source, tokens, 0).sum(axis=1, dtype=jnp.int32)
    )


class NextToken(Objective):
    """The next token's cross-entropy and nothing else."""

    def __init__(self, model_def: ModelDef, sources: int = 0) -> None:
        self._model_def = model_def
        self._sources = sources

    def counts(self, inputs: ModelInputs) -> dict[str, Int[Array, ""]]:
        """There is no further term."""
        return {}

    def sums(
        self, params: PyTree, inputs: ModelInputs, counts: Counts, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], LossSums]:
        """See `Objective.sums`."""
        model, dropout_key = self._model_def.combine(params), self._model_def.dropout_key(key)
        if not self._sources:
            loss, tokens = model.loss_sum(inputs, key=dropout_key)
            return loss, LossSums(loss, tokens, {})
        loss, tokens, losses = model.loss_sum_and_losses(inputs, key=dropout_key)
        return loss, LossSums(loss, tokens, {}, sums_by_source(losses, inputs, self._sources))


class AuxiliaryLosses(Objective):
    """The next token's cross-entropy, changed or beside other terms; all of them from one pass through the trunk.

    - `smoothed_loss`: cross-entropy to targets of which a share is spread evenly over all outputs, in place of the
      plain one (Szegedy et al. 2015, arXiv 1512.00567, section 7).
    - `z_loss`: squared logsumexp of the logits, which keeps them near a normalised scale (Chowdhery et al. 2022,
      arXiv 2204.02311, section 5).
    - `filtered_loss`: the next token's cross-entropy, smoothed if that is on, over the tokens that are kept: of each
      micro-batch those K with the highest plain cross-entropy, K = round(token_filter_keep x batch x (seq - 1)), or
      all of its loss tokens if they are fewer. Dropping what is learnt already is the idea of Chai et al. 2025 (arXiv
      2502.00340); their saving, matrix products without the dropped tokens, is not made here: it is gradients that
      are dropped.
    - `mtp_loss_I`: plain cross-entropy of head I (`chomp.model.mtp`). The weight is for the mean over heads, as in
      DeepSeek-AI 2024 (arXiv 2412.19437, equation 25).
    """

    def __init__(self, config: ObjectiveConfig, model_def: ModelDef, sources: int = 0) -> None:
        self._config = config
        self._model_def = model_def
        self._sources = sources

    def counts(self, inputs: ModelInputs) -> dict[str, Int[Array, ""]]:
        """See `Objective.counts`; `loss` is among them, against which the others are weighed."""
        counted = loss_mask(inputs.labels, inputs.segment_ids)
        by_micro = counted.sum(axis=(1, 2), dtype=jnp.int32)
        found = {name: by_micro.sum() for name in ("loss", *self._of_all_tokens())}
        if self._filters:
            found["filtered_loss"] = jnp.minimum(by_micro, self._most_kept(counted[0].size)).sum()
        for head in range(1, self._config.mtp_heads + 1):
            found[mtp_name(head)] = later_mask(counted, head).sum(dtype=jnp.int32)
        return found

    def sums(
        self, params: PyTree, inputs: ModelInputs, counts: Counts, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], LossSums]:
        """See `Objective.sums`."""
        model = self._model_def.combine(params)
        states = model.hidden_states(inputs, key=self._model_def.dropout_key(key))
        counted = loss_mask(inputs.labels, inputs.segment_ids)
        tokens = self._next_token(model, states[:, :-1], inputs.labels[:, 1:], counted)
        terms = {name: tokens[name].sum(dtype=jnp.float32) for name in self._of_all_tokens()}
        if self._filters:
            kept = self._kept(tokens["loss"], counted)
            trained = tokens.get("smoothed_loss", tokens["loss"])
            terms["filtered_loss"] = jnp.where(kept, trained, 0.0).sum(dtype=jnp.float32)
        if heads := heads_of(params):
            terms |= self._later(model, heads, states[:, :-1], inputs.labels[:, 1:], counted)
        loss = tokens["loss"].sum(dtype=jnp.float32)
        by_source = sums_by_source(tokens["loss"], inputs, self._sources)
        return self._weighed(loss, terms, counts), LossSums(loss, counted.sum(dtype=jnp.int32), terms, by_source)

    @property
    def _filters(self) -> bool:
        return self._config.token_filter_keep < 1

    def _of_all_tokens(self) -> list[str]:
        """Name the terms that are sums over all loss tokens."""
        switches = {"smoothed_loss": self._config.label_smoothing, "z_loss": self._config.z_loss}
        return [name for name, value in switches.items() if value]

    def _most_kept(self, positions: int) -> int:
        """Return how many tokens of a micro-batch with so many positions the filter keeps."""
        return max(1, round(self._config.token_filter_keep * positions))

    def _kept(
        self, losses: Float[Array, "batch targets"], counted: Bool[Array, "batch targets"]
    ) -> Bool[Array, "batch targets"]:
        """Say which loss tokens the filter keeps; of equal ones those that come first."""
        ranked = jnp.where(counted, jax.lax.stop_gradient(losses), -jnp.inf).reshape(-1)
        _, places = jax.lax.top_k(ranked, self._most_kept(ranked.size))
        return jnp.zeros(ranked.shape, bool).at[places].set(True).reshape(counted.shape) & counted

    def _next_token(
        self,
        model: LanguageModel,
        states: Float[Array, "batch targets dim"],
        targets: Int[Array, "batch targets"],
        counted: Bool[Array, "batch targets"],
    ) -> dict[str, Float[Array, "batch targets"]]:
        """Return each token's plain loss in nats and what the terms of all tokens add up, 0 where excluded."""
        smoothing, names = self._config.label_smoothing, self._of_all_tokens()

        def reduce(some: Float[Array, "n dim"], ids: Int[Array, " n"]) -> dict[str, Float[Array, " n"]]:
            logits = model.unembed(some)
            normaliser, chosen = jax.nn.logsumexp(logits, axis=-1), _chosen(logits, ids)
            found = {"loss": normaliser - chosen}
            if "smoothed_loss" in names:
                found["smoothed_loss"] = normaliser - (1 - smoothing) * chosen - smoothing * logits.mean(axis=-1)
            if "z_loss" in names:
                found["z_loss"] = normaliser**2
            return found

        found = by_chunks(reduce, *_flat(states, targets, counted), self._model_def.config.loss_chunk_size)
        return {name: jnp.where(counted, part.reshape(counted.shape), 0.0) for name, part in found.items()}

    def _later(
        self,
        model: LanguageModel,
        heads: Sequence[PredictionHead],
        states: Float[Array, "batch targets dim"],
        targets: Int[Array, "batch targets"],
        counted: Bool[Array, "batch targets"],
    ) -> dict[str, Float[Array, ""]]:
        """Return each head's sum of losses in nats.

        All heads read the same few tokens before the next ones, so few that their logits together are not as many as
        those of the next token's head. They are computed again in the backward pass.
        """
        places = range(1, len(heads) + 1)
        where = jnp.stack([later_mask(counted, place) for place in places], axis=-1)
        later = jnp.stack([shifted(targets, place) for place in places], axis=-1)
        flat = where.reshape(-1, len(heads))

        def losses(some: Float[Array, "n dim"], ids: Int[Array, "n heads"]) -> Float[Array, "n heads"]:
            logits = [model.unembed(head(some)) for head in heads]
            each = [
                jax.nn.logsumexp(scores, axis=-1) - _chosen(scores, ids[:, place])
                for place, scores in enumerate(logits)
            ]
            return jnp.stack(each, axis=-1)

        together = min(self._model_def.config.loss_chunk_size or counted.size, counted.size)
        ids = jnp.where(flat, later.reshape(flat.shape), 0)
        found = by_chunks(losses, states.reshape(-1, states.shape[-1]), ids, max(1, together // (len(heads) + 1)))
        sums = jnp.where(flat, found, 0.0).sum(axis=0, dtype=jnp.float32)
        return {mtp_name(place): sums[place - 1] for place in places}

    def _weighed(
        self, loss: Float[Array, ""], terms: Mapping[str, Float[Array, ""]], counts: Counts
    ) -> Float[Array, ""]:
        """Return a micro-batch's part of the objective, times the loss tokens of the whole batch."""
        config = self._config

        def scaled(name: str) -> Float[Array, ""]:
            return terms[name] * (counts["loss"] / jnp.maximum(counts[name], 1))

        first = next((name for name in ("filtered_loss", "smoothed_loss") if name in terms), None)
        total = loss if first is None else scaled(first)
        if config.z_loss:
            total = total + config.z_loss * scaled("z_loss")
        for head in range(1, config.mtp_heads + 1):
            total = total + config.mtp_weight / config.mtp_heads * scaled(mtp_name(head))
        return total


def mtp_name(head: int) -> str:
    """Name the loss of an extra head, counted from 1, in metrics."""
    return f"mtp_loss_{head}"


def _chosen(logits: Float[Array, "tokens vocab"], ids: Int[Array, " tokens"]) -> Float[Array, " tokens"]:
    return jnp.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]


def _flat(
    states: Float[Array, "batch targets dim"],
    targets: Int[Array, "batch targets"],
    counted: Bool[Array, "batch targets"],
) -> tuple[Float[Array, "tokens dim"], Int[Array, " tokens"]]:
    """Put all rows behind each other; what does not count gets a target that exists."""
    return states.reshape(-1, states.shape[-1]), jnp.where(counted, targets, 0).reshape(-1)
