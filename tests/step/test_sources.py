"""Losses by source of a mixture: sums over rows, which change nothing else of a step."""

import jax
import numpy as np
import pytest

from chomp.model.loss import loss_mask
from tests.model.tiny import packed_batch, parts, tiny_config, token_losses
from tests.step.running import same, started

MIXTURE = {"mixture": {"sources": {"a": {}, "b": {}, "c": {}}}}


@pytest.mark.parametrize(
    ("backend", "model", "objective"),
    [
        ("dummy", {}, {"z_loss": 0.1}),
        ("llama", {"compute_dtype": "bfloat16", "loss_chunk_size": 16, "num_layers": 1}, {}),
    ],
)
def test_losses_by_source_are_those_of_their_rows(backend: str, model: dict, objective: dict) -> None:
    batch = packed_batch(3, accum=2, rows=3)
    ids = np.array([0, 2, 0, 2, 0, 0], np.int32).reshape(2, 3, 1)
    config = tiny_config(backend, model=model, objective=objective)
    data = type(config.data).model_validate(MIXTURE)
    named = batch._replace(source_ids=ids)
    plain, state = started(config, batch)
    mixed, _ = started(config.model_copy(update={"data": data}), named)
    model_def, *_ = parts(config)
    model, inputs = model_def.combine(state.params), (batch.input_ids, batch.labels, batch.segment_ids)
    losses = [np.asarray(token_losses(model, *(field[part] for field in inputs))[0]) for part in range(2)]
    by_row = np.stack(losses).astype(np.float64).sum(-1).reshape(-1)
    tokens = loss_mask(batch.labels, batch.segment_ids).sum(-1).reshape(-1)
    of = ids.reshape(-1) == np.arange(3)[:, None]
    alone, metrics = plain(jax.tree.map(jax.numpy.copy, state), batch)
    together, found = mixed(state, named)
    assert metrics.by_source is None
    assert np.asarray(found.by_source.tokens).tolist() == (of * tokens).sum(1).tolist()
    np.testing.assert_allclose(found.by_source.loss, (of * by_row).sum(1), rtol=1e-2 if objective == {} else 1e-5)
    assert found.by_source.loss[1] == 0
    assert np.asarray(found.by_source.loss).sum() == pytest.approx(float(found.loss) * int(found.tokens), rel=1e-6)
    assert float(found.loss) == float(metrics.loss)
    assert same(together.params, alone.params), "the gradient is the same"
