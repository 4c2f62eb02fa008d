"""Continuing prompts token by token with what a model remembers of them, in one compiled program."""

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from megalodon_jax import sample_token


@runtime_checkable
class Decoder(Protocol):
    """A model that can be asked for one token more without reading the text before it again."""

    def prefill(self, prompt_ids: Int[Array, "batch prompt"], capacity: int) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after the prompts, and what has to be remembered of up to `capacity` ids."""

    def advance(self, memory: Any, ids: Int[Array, " batch"]) -> tuple[Float[Array, "batch vocab"], Any]:
        """Return fp32 logits of the token after `ids`, which follow what is remembered, and the memory with them."""


@eqx.filter_jit
def continue_prompts(
    model: Decoder,
    prompt_ids: Int[Array, "batch prompt"],
    max_new_tokens: int,
    key: PRNGKeyArray,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    eos_id: int | None,
) -> Int[Array, "batch total"]:
    """Continue each prompt as `LanguageModel.generate` says.

    Numbers that are not arrays are part of the compiled program.
    """
    prompt_ids = prompt_ids.astype(jnp.int32)
    rows, length = prompt_ids.shape

    def draw(
        carry: tuple[Float[Array, "batch vocab"], Any, Bool[Array, " batch"]], step_key: PRNGKeyArray
    ) -> tuple[Any, Int[Array, " batch"]]:
        logits, memory, done = carry
        token = sample_token(logits, step_key, temperature, top_k, top_p)
        if eos_id is not None:
            token = jnp.where(done, eos_id, token)
            done = done | (token == eos_id)
        logits, memory = model.advance(memory, token)
        return (logits, memory, done), token

    logits, memory = model.prefill(prompt_ids, length + max_new_tokens)
    start = (logits, memory, jnp.zeros(rows, bool))
    _, tokens = jax.lax.scan(draw, start, jax.random.split(key, max_new_tokens))
    return jnp.concatenate([prompt_ids, tokens.T], axis=1)
