import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from megalodon_jax import generate

from chomp.errors import ConfigError
from chomp.model.build import build_model
from chomp.model.decoding import SamplingParams, continue_prompts, tokens_as_they_come
from chomp.model.megalodon import MegalodonModel
from tests.model.tiny import VOCAB, logits_of, model_config

CHUNK = 8


@functools.cache
def model(**changes: int) -> MegalodonModel:
    model_def = build_model(model_config(chunk_size=CHUNK, **changes))
    return model_def.combine(model_def.init(jax.random.key(0)))


def prompt(length: int, rows: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(3, VOCAB, (rows, length)), jnp.int32)


@pytest.mark.parametrize("changes", [{}, {"attention_window": 6}])
def test_cached_decoding_equals_a_full_forward(changes: dict[str, int]) -> None:
    """Logits agree to 1e-5 in fp32 at every step, through two chunk boundaries."""
    network, total, prompted = model(**changes).network, 3 * CHUNK - 2, 5
    ids = prompt(total)
    full = logits_of(model(**changes), ids)
    decode = jax.jit(lambda network, tokens, cache: network(tokens, cache=cache, return_cache=True))
    logits, cache = decode(network, ids[:, :prompted], None)
    steps = [logits]
    for position in range(prompted, total):
        logits, cache = decode(network, ids[:, position : position + 1], cache)
        steps.append(logits)
    np.testing.assert_allclose(jnp.concatenate(steps, axis=1), full, rtol=0, atol=1e-5)


def test_greedy_continuation_is_the_full_forward_s_choice() -> None:
    generated = model().generate(prompt(5), CHUNK + 4, key=jax.random.key(0), temperature=0.0)
    choices = jnp.argmax(logits_of(model(), generated), axis=-1)
    np.testing.assert_array_equal(generated[:, 5:], choices[:, 4:-1])
    np.testing.assert_array_equal(generated[:, :5], prompt(5))


@pytest.mark.parametrize("draw", [SamplingParams(0.0), SamplingParams(0.9, 40, 0.95), SamplingParams(1.0, None, 0.5)])
def test_the_library_s_own_generation_draws_what_is_drawn_as_they_come(draw: SamplingParams) -> None:
    ids, key = prompt(5, rows=1), jax.random.key(3)
    settings = {"temperature": draw.temperature, "top_k": draw.top_k, "top_p": draw.top_p}
    theirs, _, _ = generate(model().network, ids, CHUNK + 4, key, **settings)
    np.testing.assert_array_equal(model().generate(ids, CHUNK + 4, key=key, **settings), theirs)
    np.testing.assert_array_equal(continue_prompts(model(), ids, CHUNK + 4, key, draw, None), theirs)
    assert list(tokens_as_they_come(model(), ids[0].tolist(), CHUNK + 4, key, draw)) == theirs[0, 5:].tolist()


def test_a_head_of_another_width_cannot_sample() -> None:
    model_def = build_model(model_config(output_size=VOCAB + 3))
    wide = model_def.combine(model_def.init(jax.random.key(0)))
    with pytest.raises(ConfigError) as caught:
        wide.generate(prompt(5), 3, key=jax.random.key(0))
    assert str(caught.value) == (
        "Sampling needs model.output_size (64) equal to model.vocab_size (61): set model.output_size to -1."
    )
