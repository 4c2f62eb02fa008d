"""What every model backend must do."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.data.batch import IGNORED
from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.build import ModelDef, build_model
from chomp.model.loss import loss_mask
from chomp.model.paths import named_leaves
from tests.model.tiny import BASES, VOCAB, logits_of, loss_sum, model_config, packed_batch, token_losses

pytestmark = pytest.mark.parametrize("backend", sorted(BASES))


@functools.cache
def built(backend: str, **changes: Any) -> tuple[ModelDef, LanguageModel]:
    model_def = build_model(model_config(backend, **changes))
    return model_def, model_def.combine(model_def.init(jax.random.key(0)))


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batch = packed_batch(seed)
    return batch.input_ids[0], batch.labels[0], batch.segment_ids[0]


@pytest.mark.parametrize("isolate", [True, False])
def test_loss_sum_adds_the_token_losses_under_the_mask(backend: str, isolate: bool) -> None:
    _, model = built(backend)
    ids, labels, segments = rows()
    given = segments if isolate else None
    losses, counted = token_losses(model, ids, labels, given)
    total, count = loss_sum(model, ids, labels, given)
    mask = loss_mask(labels, segments, isolate)
    assert losses.shape == mask.shape
    assert losses.dtype == total.dtype == jnp.float32
    assert count.dtype == jnp.int32
    assert int(count) == int(counted) == mask.sum()
    np.testing.assert_array_equal(np.asarray(losses) > 0, mask)
    np.testing.assert_allclose(total, np.asarray(losses, np.float64).sum(), rtol=1e-6)


@pytest.mark.parametrize("isolate", [True, False])
def test_token_losses_are_the_logits_log_likelihoods(backend: str, isolate: bool) -> None:
    _, model = built(backend)
    ids, labels, segments = rows(1)
    given = segments if isolate else None
    losses, _ = token_losses(model, ids, labels, given)
    logits = logits_of(model, ids, given)
    assert logits.dtype == jnp.float32
    targets = np.where(labels[:, 1:] == IGNORED, 0, labels[:, 1:])
    chosen = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits[:, :-1])), targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses, np.where(loss_mask(labels, segments, isolate), -chosen, 0), atol=2e-5)


def test_no_loss_token_gives_zero_and_finite_gradients(backend: str) -> None:
    model_def, _ = built(backend)
    ids, labels, segments = rows()
    nothing = np.full_like(labels, IGNORED)

    def loss(params: Any) -> Any:
        return model_def.combine(params).loss_sum(ModelInputs(*map(jnp.asarray, (ids, nothing, segments))))

    (total, count), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(model_def.init(jax.random.key(0)))
    assert (float(total), int(count)) == (0.0, 0)
    assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(grads))


def test_dropout_follows_its_key_and_only_in_training(backend: str) -> None:
    _, model = built(backend, dropout=0.3)
    first, again, other = (float(loss_sum(model, *rows(), key=jax.random.key(seed))[0]) for seed in (0, 0, 1))
    evaluated = float(loss_sum(model, *rows())[0])
    assert first == again
    assert len({first, other, evaluated}) == 3


def test_embedding_path_names_the_embedding(backend: str) -> None:
    model_def, _ = built(backend)
    leaf = dict(named_leaves(model_def.abstract()))[model_def.embedding_path]
    assert leaf.shape == (VOCAB, model_def.config.model_dim)


def test_generation_keeps_the_prompt_and_repeats_by_key(backend: str) -> None:
    _, model = built(backend)
    prompt = jnp.asarray(rows()[0][:, :5])

    def draw(seed: int) -> np.ndarray:
        return np.asarray(model.generate(prompt, 9, key=jax.random.key(seed), temperature=0.9, top_k=40, top_p=0.95))

    first = draw(0)
    assert first.shape == (2, 14)
    assert first.dtype == np.int32
    np.testing.assert_array_equal(first[:, :5], prompt)
    np.testing.assert_array_equal(first, draw(0))
    assert (first != draw(1)).any()
    assert first.min() >= 0
    assert first.max() < VOCAB


def test_generation_fills_with_eos_after_it(backend: str) -> None:
    _, model = built(backend)
    prompt = jnp.asarray(rows()[0][:, :5])
    greedy = np.asarray(model.generate(prompt, 9, key=jax.random.key(0), temperature=0.0))
    eos = int(greedy[0, 7])
    stopped = np.asarray(model.generate(prompt, 9, key=jax.random.key(0), temperature=0.0, eos_id=eos))
    first = int(np.argmax(greedy[0, 5:] == eos)) + 5
    np.testing.assert_array_equal(stopped[0, : first + 1], greedy[0, : first + 1])
    assert (stopped[0, first:] == eos).all()


def test_more_candidates_than_ids_means_all_of_them(backend: str) -> None:
    _, model = built(backend)
    prompt = jnp.asarray(rows()[0][:, :5])
    first, second = (model.generate(prompt, 3, key=jax.random.key(0), top_k=k) for k in (VOCAB, 10 * VOCAB))
    np.testing.assert_array_equal(first, second)


def test_generation_compiles_once_for_the_same_shapes(backend: str) -> None:
    _, model = built(backend)
    prompt = jnp.asarray(rows()[0][:, :5])
    model.generate(prompt, 3, key=jax.random.key(0))
    with CompileCounter() as counter:
        model.generate(prompt, 3, key=jax.random.key(1))
        assert counter.count == 0
        model.generate(prompt, 4, key=jax.random.key(1))
        assert counter.count > 0


class CompileCounter:
    """Counts backend compilations, or their reads from the persistent cache, while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def _listen(self, event: str, duration: float, **_: Any) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_trace_duration")):
            self.count += 1

    def __enter__(self) -> "CompileCounter":
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)
