"""A x B micro-batches are one batch of A * B rows, whatever each row's count of loss tokens."""

from typing import Any

import jax
import numpy as np
import pytest

from chomp.data.batch import Batch
from tests.model.tiny import packed_batch, tiny_config
from tests.step.running import started

ACCUM, ROWS = 3, 2


def one_step(backend: str, batch: Batch, name: str) -> tuple[Any, Any]:
    accum, rows = batch.input_ids.shape[:2]
    optim = {"name": name, "lr": 1e-3, "warmup_steps": 0, "weight_decay": 0.1}
    config = tiny_config(backend, optim=optim, train={"batch_size": rows, "grad_accum": accum})
    step, state = started(config, batch)
    return step(state, batch)


@pytest.mark.parametrize(("backend", "name"), [("dummy", "adamw"), ("dummy", "muon"), ("megalodon", "adamw")])
def test_accumulation_equals_one_large_batch(backend: str, name: str) -> None:
    """In fp32: loss and gradient norm to 1e-6 relative, parameters to 2 % of one update.

    Adam divides by the root of the second moment, so where a gradient is all rounding its first update is too:
    the bound on parameters is absolute, and the loss and norm carry the proof.
    """
    split = packed_batch(11, accum=ACCUM, rows=ROWS)
    whole = jax.tree.map(lambda field: field.reshape(1, ACCUM * ROWS, -1), split)
    counts = (split.labels >= 0).sum(axis=(1, 2))
    assert len(set(counts.tolist())) > 1, "every micro-batch has another count of loss tokens"
    (state, metrics), (whole_state, whole_metrics) = one_step(backend, split, name), one_step(backend, whole, name)
    assert int(metrics.tokens) == int(whole_metrics.tokens)
    assert float(metrics.loss) == pytest.approx(float(whole_metrics.loss), rel=1e-6)
    assert float(metrics.grad_norm) == pytest.approx(float(whole_metrics.grad_norm), rel=1e-6)
    for got, want in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole_state.params), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


def test_mean_of_micro_batch_means_would_be_another_number() -> None:
    """The check above can fail: the rows differ enough for the usual shortcut to be wrong."""
    split = packed_batch(11, accum=ACCUM, rows=ROWS)
    losses = []
    for index in range(ACCUM):
        micro = jax.tree.map(lambda field, index=index: field[index : index + 1], split)
        losses.append(float(one_step("dummy", micro, "adamw")[1].loss))
    exact = float(one_step("dummy", split, "adamw")[1].loss)
    assert abs(np.mean(losses) - exact) > 1e-5 * exact
