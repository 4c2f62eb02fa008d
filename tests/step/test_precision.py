"""Training in bf16 learns what training in fp32 learns; its gradients are no further from fp32's than the library's."""

from __future__ import annotations

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.data.batch import Batch
from chomp.model.base import ModelInputs
from chomp.model.build import build_model
from chomp.model.products import einsum_f32
from tests.model.tiny import model_config, packed_batch, tiny_config
from tests.step.running import started

STEPS, LAST, ROWS, LENGTH = 300, 50, 4, 64
# Of the mean loss of the last steps. Two runs in fp32 that begin from other seeds differ by more.
BAND = 0.02


def rows_of_text(step: int) -> Batch:
    """Pieces of Python's own library, two documents in a row."""
    text = np.frombuffer(inspect.getsource(inspect).encode(), np.uint8)
    rng = np.random.default_rng(step)
    starts = rng.integers(0, len(text) - LENGTH, ROWS)
    # Folded to the tiny models' vocabulary.
    ids = np.stack([text[start : start + LENGTH] % 58 + 3 for start in starts]).astype(np.int32)[None]
    segments = np.broadcast_to(np.arange(LENGTH) // 40 + 1, ids.shape).astype(np.int32)
    return Batch(ids, ids, segments > 0, segments)


def curve(backend: str, **model: Any) -> np.ndarray:
    """The losses of a run."""
    config = tiny_config(
        backend,
        model=model,
        train={"seq_len": LENGTH, "batch_size": ROWS, "steps": STEPS},
        optim={"name": "adamw", "lr": 3e-3, "warmup_steps": 20},
    )
    step, state = started(config, rows_of_text(0))
    losses = []
    for number in range(STEPS):
        state, metrics = step(state, rows_of_text(number))
        losses.append(metrics.loss)
    return np.asarray(losses)


@pytest.mark.parametrize("backend", ["megalodon", pytest.param("llama", marks=pytest.mark.soak)])
def test_a_curve_in_bf16_stays_within_a_band_of_fp32_s(backend: str) -> None:
    exact, rounded = curve(backend), curve(backend, compute_dtype="bfloat16")
    assert exact[-LAST:].mean() < 0.75 * exact[:5].mean(), "the run learns"
    assert rounded[-LAST:].mean() == pytest.approx(exact[-LAST:].mean(), rel=BAND)
    # Nowhere along the way either, over a window of steps.
    window = np.ones(LAST) / LAST
    np.testing.assert_allclose(*(np.convolve(one, window, "valid") for one in (rounded, exact)), rtol=2 * BAND)


def gradients(cema: str, compute_dtype: str) -> Any:
    model_def = build_model(model_config(cema=cema, compute_dtype=compute_dtype, num_layers=1))
    batch = packed_batch(1, rows=4)
    rows = ModelInputs(*(jnp.asarray(part[0]) for part in (batch.input_ids, batch.labels, batch.segment_ids)))
    params = model_def.init(jax.random.key(0))
    return jax.jit(jax.grad(lambda params: model_def.combine(params).loss_sum(rows)[0]))(params)


def distance(ours: Any, exact: Any) -> float:
    """Of the whole gradient, as a share of its norm."""
    square = sum(
        float(jnp.square(a - b).sum()) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True)
    )
    return (square / sum(float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(exact))) ** 0.5


def test_gradients_in_bf16_are_as_near_to_fp32_as_the_library_s() -> None:
    exact = gradients("blockwise", "float32")
    theirs = distance(gradients("sequential", "bfloat16"), exact)
    for form in ("blockwise", "parallel", "kernel"):
        assert distance(gradients(form, "bfloat16"), exact) < 1.5 * theirs < 0.1


def test_a_product_s_gradients_are_of_its_operands_dtypes_and_sums_are_fp32() -> None:
    rng = np.random.default_rng(0)
    a, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((257, 33), (65, 33)))
    slopes, rounded = rng.integers(1, 3, (257, 65)).astype(np.float32), a.astype(jnp.bfloat16)

    def total(a: Any, w: Any) -> Any:
        return (einsum_f32("nd,vd->nv", a, w) * slopes).sum()

    d_a, d_w = jax.grad(total, (0, 1))(rounded, w)
    assert (d_a.dtype, d_w.dtype) == (jnp.bfloat16, jnp.float32)
    # Whole numbers in bf16: what is left is the rounding of inputs and of the result.
    np.testing.assert_allclose(d_w, slopes.T @ np.asarray(rounded, np.float64), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("chunk", [None, 7, 1000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_head_s_own_gradients_are_those_of_its_losses(chunk: int | None, dtype: str) -> None:
    """`loss_sum` computes them in the forward pass; `token_losses` leaves them to JAX."""
    found = []
    for by_token in (False, True):
        model_def = build_model(model_config("llama", loss_chunk_size=chunk, compute_dtype=dtype))
        batch = packed_batch(2, rows=3)
        rows = ModelInputs(*(jnp.asarray(part[0]) for part in (batch.input_ids, batch.labels, batch.segment_ids)))

        def loss(params: Any, model_def: Any = model_def, rows: Any = rows, by_token: bool = by_token) -> Any:
            model = model_def.combine(params)
            return 3.0 * (model.token_losses(rows)[0].sum() if by_token else model.loss_sum(rows)[0])

        found.append(eqx.filter_jit(jax.value_and_grad(loss))(model_def.init(jax.random.key(0))))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    assert distance(found[0][1], found[1][1]) < (1e-6 if dtype == "float32" else 1e-2)
