"""With segment ids a row of several documents is worth exactly its documents alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.model.base import LanguageModel
from chomp.model.build import build_model
from tests.model.tiny import logits_of, loss_sum, model_config

LENGTHS = (9, 3, 5, 4)
PADDING = 3


@pytest.fixture(scope="module", params=["blockwise", "sequential", "associative"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Chunks of four tokens, so that documents straddle and restart chunks."""
    model_def = build_model(model_config(cema=request.param, chunk_size=4, num_layers=2))
    return model_def.combine(model_def.init(jax.random.key(0)))


def row() -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(5).integers(3, 61, sum(LENGTHS) + PADDING).astype(np.int32)
    segments = np.repeat([*range(1, len(LENGTHS) + 1), 0], [*LENGTHS, PADDING]).astype(np.int32)
    ids[segments == 0] = 0
    return ids, segments


def test_loss_sum_is_that_of_the_documents_alone(model: LanguageModel) -> None:
    """In fp32 to 2e-6 of the sum, the rounding of another order of addition."""
    ids, segments = row()
    packed, count = loss_sum(model, ids[None], ids[None], segments[None])
    alone = 0.0
    for number, length in enumerate(LENGTHS, start=1):
        document = np.full((1, ids.size), 0, np.int32)
        document[0, :length] = ids[segments == number]
        own = (np.arange(ids.size) < length)[None].astype(np.int32)
        losses, _ = loss_sum(model, document, document, own)
        alone += float(losses)
    assert int(count) == sum(LENGTHS) - len(LENGTHS)
    assert float(packed) == pytest.approx(alone, rel=2e-6)


def test_a_document_s_logits_do_not_depend_on_the_others(model: LanguageModel) -> None:
    ids, segments = row()
    changed = np.where(segments == 2, ids, (ids + 7) % 58 + 3).astype(np.int32)
    kept = segments == 2
    first, second = (
        logits_of(model, jnp.asarray(ids)[None], segments[None]),
        logits_of(model, changed[None], segments[None]),
    )
    np.testing.assert_allclose(first[0, kept], second[0, kept], rtol=0, atol=2e-5)
    assert np.abs(np.asarray(first - second)[0, ~kept]).max() > 0.01


def test_without_segments_documents_see_each_other(model: LanguageModel) -> None:
    """The check above can fail: one continuous stream is another function."""
    ids, segments = row()
    isolated, together = logits_of(model, ids[None], segments[None]), logits_of(model, ids[None])
    assert np.abs(np.asarray(isolated - together)[0, segments == 2]).max() > 0.01
