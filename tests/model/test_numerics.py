"""Settings that save memory or time change no more than rounding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.model.base import ModelInputs
from chomp.model.build import build_model
from chomp.train.blueprint import build_blueprint
from chomp.train.footprint import activation_bytes
from tests.model.tiny import model_config, packed_batch, tiny_config


def loss_and_grads(deterministic: bool = True, backend: str = "megalodon", **changes: Any) -> tuple[Any, Any]:
    model_def = build_model(model_config(backend, **changes), deterministic=deterministic)
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
    [{"remat": "full", "deterministic": False}, {"loss_chunk_size": 7}, {"cema": "associative"}],
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


@pytest.mark.parametrize("backend", ["megalodon", "llama"])
def test_each_policy_recomputes_and_changes_nothing(backend: str) -> None:
    """What is kept becomes less from `none` to `full`; losses and gradients stay."""
    found, kept = {}, {}
    for policy in ("none", "attention", "dots", "full"):
        found[policy] = loss_and_grads(backend=backend, remat=policy, num_layers=1)
        config = tiny_config(backend, model={"remat": policy, "num_layers": 1})
        kept[policy] = activation_bytes(build_blueprint(config, "cpu").model_def, config)
    for policy, (loss, grads) in found.items():
        np.testing.assert_allclose(loss, found["none"][0], rtol=1e-6)
        assert_close(jax.tree.leaves(grads), jax.tree.leaves(found["none"][1]), rtol=1e-4, atol=1e-4)
        assert policy == "none" or kept[policy] < kept["none"]
    assert kept["full"] == min(kept.values())


def test_the_older_name_of_full_is_the_same_program() -> None:
    (loss, grads), (other, others) = loss_and_grads(remat="full"), loss_and_grads(use_checkpoint=True)
    assert loss == other
    jax.tree.map(np.testing.assert_array_equal, grads, others)
