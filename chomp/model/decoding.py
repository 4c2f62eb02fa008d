"""Continuing prompts token by token with what a model remembers of them: in one compiled program, or as they come."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax import sample_token


@runtime_checkable
class Decoder(Protocol):
    """A model that decodes one more token without reading the previous text again."""

    def prefill(self, prompt_ids: Int[Array, "batch prompt"], capacity: int) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after the prompts, and what has to be remembered of up to `capacity` ids."""

    def advance(self, memory: Any, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after `ids`, which follow what is remembered, and the memory with them."""


class SamplingParams(NamedTuple):
    """How tokens are chosen: see `LanguageModel.generate`. Part of a compiled program."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def next(self, logits: Float[Array, "batch vocab"], key: PRNGKeyArray) -> tuple[Int[Array, " batch"], PRNGKeyArray]:
        """Choose an id of each row; returns the ids and the key of the next choice."""
        key, here = jax.random.split(key)
        top_k = None if self.top_k is None else min(self.top_k, logits.shape[-1])
        return sample_token(logits, here, self.temperature, top_k, self.top_p), key


@eqx.filter_jit
def continue_prompts(
    model: Decoder,
    prompt_ids: Int[Array, "batch prompt"],
    max_new_tokens: int,
    key: PRNGKeyArray,
    draw: SamplingParams,
    eos_id: int | None,
) -> Int[Array, "batch total"]:
    """Continue each prompt as `LanguageModel.generate` says, in one program.

    The key is split before each token, as `megalodon_jax.generate` does: the same logits give the same ids there.
    """
    prompt_ids = prompt_ids.astype(jnp.int32)
    rows, length = prompt_ids.shape

    def filled(token: Int[Array, " batch"], done: Bool[Array, " batch"]) -> tuple[Any, Any]:
        return (token, done) if eos_id is None else (jnp.where(done, eos_id, token), done | (token == eos_id))

    def step(carry: tuple[Any, ...], _: None) -> tuple[Any, Int[Array, " batch"]]:
        last, done, key, memory = carry
        logits, memory = model.advance(memory, last)
        token, key = draw.next(logits, key)
        token, done = filled(token, done)
        return (token, done, key, memory), token

    logits, memory = model.prefill(prompt_ids, length + max_new_tokens)
    first, key = draw.next(logits, key)
    first, done = filled(first, jnp.zeros(rows, bool))
    _, tokens = jax.lax.scan(step, (first, done, key, memory), None, length=max_new_tokens - 1)
    return jnp.concatenate([prompt_ids, first[:, None], tokens.T], axis=1)


def tokens_as_they_come(
    model: Decoder, prompt_ids: Sequence[int], max_new_tokens: int, key: PRNGKeyArray, draw: SamplingParams
) -> Iterator[int]:
    """Yield the ids that `continue_prompts` adds to one prompt, each as soon as it is drawn, without end of text.

    Prompts of many lengths share a few programs: the longest beginning whose length is a power of two is read at
    once, the rest id by id, and memory is kept for a power of two of ids.
    """
    ids = jnp.asarray(prompt_ids, jnp.int32)[None]
    at_once = 1 << (ids.shape[1].bit_length() - 1)
    logits, memory = _prefilled(model, ids[:, :at_once], _capacity(ids.shape[1], max_new_tokens))
    for place in range(at_once, ids.shape[1]):
        logits, memory = _advanced((model, ids[:, place]), memory)
    for left in reversed(range(max_new_tokens)):
        token, key = _drawn(logits, key, draw)
        if left:
            # Begun before the id is looked at, so that the device is not kept waiting for it.
            logits, memory = _advanced((model, token), memory)
        yield int(token[0])


@eqx.filter_jit
def _prefilled(model: Decoder, ids: Int[Array, "1 prompt"], capacity: int) -> tuple[Float[Array, "1 vocab"], Any]:
    return model.prefill(ids, capacity)


# Memory is changed in place; what comes first is not given away.
@eqx.filter_jit(donate="all-except-first")
def _advanced(reading: tuple[Decoder, Int[Array, " 1"]], memory: Any) -> tuple[Float[Array, "1 vocab"], Any]:
    model, ids = reading
    return model.advance(memory, ids)


@eqx.filter_jit
def _drawn(
    logits: Float[Array, "1 vocab"], key: PRNGKeyArray, draw: SamplingParams
) -> tuple[Int[Array, " 1"], PRNGKeyArray]:
    return draw.next(logits, key)


def remembered_bytes(model: Decoder, prompt_length: int, max_new_tokens: int) -> int:
    """Memory that `tokens_as_they_come` keeps for one prompt and its continuation."""
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    _, memory = eqx.filter_eval_shape(_prefilled, model, ids, _capacity(prompt_length, max_new_tokens))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(memory) if hasattr(leaf, "dtype"))


def _capacity(prompt_length: int, max_new_tokens: int) -> int:
    """Ids for which memory is kept: a power of two, so that prompts of many lengths share a program."""
    return 1 << (prompt_length + max_new_tokens - 1).bit_length()
