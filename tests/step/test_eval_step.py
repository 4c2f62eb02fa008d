import math

import jax
import numpy as np
import pytest

from chomp.data.batch import Batch
from chomp.model.loss import loss_mask, scored_tokens
from chomp.step.eval_step import make_eval_step
from chomp.train.compilation import CompileWatch
from tests.model.tiny import VOCAB, packed_batch, parts, tiny_config, token_losses


def rows_only(batch: Batch) -> Batch:
    return jax.tree.map(lambda field: field[0], batch)


@pytest.mark.parametrize("isolate", [True, False])
def test_sums_are_those_of_the_model(isolate: bool) -> None:
    model_def, _, _ = parts(tiny_config("dummy", model={"dropout": 0.5}))
    params, batch = model_def.init(jax.random.key(0)), rows_only(packed_batch(0, rows=3))
    sums = make_eval_step(model_def, isolate=isolate)(params, batch)
    segments = batch.segment_ids if isolate else None
    losses, count = token_losses(model_def.combine(params), batch.input_ids, batch.labels, segments)
    mask = loss_mask(batch.labels, batch.segment_ids, isolate)
    assert int(sums.tokens) == int(count) == mask.sum()
    assert float(sums.loss) == pytest.approx(float(losses.sum()), rel=1e-6)
    np.testing.assert_allclose(sums.row_loss, losses.sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(sums.row_tokens, mask.sum(axis=1))


def test_bits_per_byte_of_a_uniform_model_is_bits_per_token_over_bytes_per_token() -> None:
    model_def, _, _ = parts(tiny_config("dummy"))
    params = jax.tree.map(lambda leaf: 0 * leaf, model_def.init(jax.random.key(0)))
    batch = rows_only(packed_batch(0))
    sums = make_eval_step(model_def, isolate=True)(params, batch)
    read = 4 * len(scored_tokens(batch.labels, batch.segment_ids))
    assert float(sums.loss) / math.log(2) / read == pytest.approx(math.log2(VOCAB) / 4, rel=1e-6)


def test_compiles_once_for_a_pass_of_equal_shapes() -> None:
    model_def, _, _ = parts(tiny_config("dummy"))
    step, params = make_eval_step(model_def, isolate=True), model_def.init(jax.random.key(0))
    step(params, rows_only(packed_batch(0)))
    watch = CompileWatch()
    for seed in (1, 2):
        step(params, rows_only(packed_batch(seed)))
    watch.close()
    assert watch.compiled == 0
