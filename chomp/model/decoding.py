"""Continuing prompts token by token with what a model remembers of them: in one compiled program, or as they come."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax import sample_token


@runtime_checkable
class Decoder(Protocol):
    """A model that can be asked for one token more without reading the text before it again."""

    def prefill(self, prompt_ids: Int[Array, "batch prompt"], capacity: int) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after the prompts, and what has to be remembered of up to `capacity` ids."""

    def advance(self, memory: Any, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after `ids`, which follow what is remembered, and the memory with them."""


class Draw(NamedTuple):
    """How tokens are chosen: see `LanguageModel.generate`. Part of a compiled program."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __call__(self, logits: Float[Array, "batch vocab"], key: PRNGKeyArray) -> Int[Array, " batch"]:
        """Choose an id of each row."""
        top_k = None if self.top_k is None else min(self.top_k, logits.shape[-1])
        return sample_token(logits, key, self.temperature, top_k, self.top_p)


@eqx.filter_jit
def continue_prompts(
    model: Decoder,
    prompt_ids: Int[Array, "batch prompt"],
    max_new_tokens: int,
    key: PRNGKeyArray,
    draw: Draw,
    eos_id: int | None,
) -> Int[Array, "batch total"]:
    """Continue each prompt as `LanguageModel.generate` says, in one program."""
    prompt_ids = prompt_ids.astype(jnp.int32)
    rows, length = prompt_ids.shape
    keys = jax.random.split(key, max_new_tokens)

    def filled(token: Int[Array, " batch"], done: Bool[Array, " batch"]) -> tuple[Any, Any]:
        return (token, done) if eos_id is None else (jnp.where(done, eos_id, token), done | (token == eos_id))

    def step(carry: tuple[Any, ...], step_key: PRNGKeyArray) -> tuple[Any, Int[Array, " batch"]]:
        last, done, memory = carry
        logits, memory = model.advance(memory, last)
        token, done = filled(draw(logits, step_key), done)
        return (token, done, memory), token

    logits, memory = model.prefill(prompt_ids, length + max_new_tokens)
    first, done = filled(draw(logits, keys[0]), jnp.zeros(rows, bool))
    _, tokens = jax.lax.scan(step, (first, done, memory), keys[1:])
    return jnp.concatenate([prompt_ids, first[:, None], tokens.T], axis=1)


def tokens_as_they_come(
    model: Decoder, prompt_ids: Int[np.ndarray, " prompt"], max_new_tokens: int, key: PRNGKeyArray, draw: Draw
) -> Iterator[int]:
    """Yield the ids that `continue_prompts` adds to one prompt, each as soon as it is drawn, without end of text."""
    keys = jax.random.split(key, max_new_tokens)
    prompt = jnp.asarray(prompt_ids, jnp.int32)[None]
    token, memory = _begin(model, prompt, len(prompt_ids) + max_new_tokens, keys[0], draw)
    yield int(token[0])
    for step_key in keys[1:]:
        token, memory = _go_on(model, memory, token, step_key, draw)
        yield int(token[0])


@eqx.filter_jit
def _begin(
    model: Decoder, prompt_ids: Int[Array, "batch prompt"], capacity: int, key: PRNGKeyArray, draw: Draw
) -> tuple[Int[Array, " batch"], Any]:
    logits, memory = model.prefill(prompt_ids, capacity)
    return draw(logits, key), memory


@eqx.filter_jit
def _go_on(
    model: Decoder, memory: Any, last: Int[Array, " batch"], key: PRNGKeyArray, draw: Draw
) -> tuple[Int[Array, " batch"], Any]:
    logits, memory = model.advance(memory, last)
    return draw(logits, key), memory
