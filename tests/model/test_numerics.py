"""Settings that save memory or time change no more than rounding."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.model.base import ModelInputs
from chomp.model.build import build_model
from tests.model.tiny import model_config, packed_batch


def loss_and_grads(deterministic: bool = True, **changes: Any) -> tuple[Any, Any]:
    model_def = build_model(model_config(**changes), deterministic=deterministic)
    batch = packed_batch(2)
    rows = jax.tree.map(jnp.asarray, (batch.input_ids[0], batch.labels[0], batch.segment_ids[0]))

    @jax.jit
    @jax.value_and_grad
    def loss(params: Any) -> Any:
        return model_def.combine(params).loss_sum(ModelInputs(*rows), key=model_def.dropout_key(jax.random.key(3)))[0]

    return loss(model_def.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def plain() -> tuple[Any, Any]:
    return loss_and_grads()


def assert_close(first: Any, second: Any, rtol: float, atol: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), first, second)


@pytest.mark.parametrize(
    "changes",
    [{"use_checkpoint": True, "deterministic": False}, {"loss_chunk_size": 7}, {"cema": "associative"}],
    ids=["recomputation", "chunked head", "associative scan"],
)
def test_same_loss_and_gradients(plain: tuple[Any, Any], changes: dict[str, Any]) -> None:
    (loss, grads), (plain_loss, plain_grads) = loss_and_grads(**changes), plain
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)
    leaves = zip(jax.tree.leaves(grads), jax.tree.leaves(plain_grads), strict=True)
    for got, want in leaves:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_bf16_products_give_nearly_the_fp32_loss(plain: tuple[Any, Any]) -> None:
    loss, grads = loss_and_grads(compute_dtype="bfloat16")
    np.testing.assert_allclose(loss, plain[0], rtol=5e-3)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} == {"float32"}


def test_recomputation_lowers_to_more_work_only_when_training() -> None:
    """The library recomputes only where dropout may act, so a deterministic model would silently not."""
    batch = packed_batch(2)

    def lowered(deterministic: bool) -> str:
        model_def = build_model(model_config(use_checkpoint=True), deterministic=deterministic)
        params = model_def.abstract()
        rows = jax.tree.map(jnp.asarray, (batch.input_ids[0], batch.labels[0], batch.segment_ids[0]))
        key = model_def.dropout_key(jax.random.key(0))
        loss = eqx.filter_grad(lambda p: model_def.combine(p).loss_sum(ModelInputs(*rows), key=key)[0])
        return str(jax.make_jaxpr(loss)(params))

    assert "remat" in lowered(deterministic=False)
    assert "remat" not in lowered(deterministic=True)
