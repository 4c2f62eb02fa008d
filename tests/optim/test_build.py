"""The update rules against their formulas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chomp.optim.build import Optimizer
from chomp.optim.newton_schulz import orthogonalised
from tests.model.tiny import parts, tiny_config


def made(backend: str = "dummy", *, model: dict[str, Any] | None = None, **optim: Any) -> tuple[Any, Optimizer]:
    config = tiny_config(backend, model=model, optim={"warmup_steps": 0, "lr": 1e-2, **optim})
    model_def, optimizer, _ = parts(config)
    return model_def.init(jax.random.key(0)), optimizer


def gradients(params: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32), params)


def first_update(optimizer: Optimizer, params: Any, grads: Any) -> Any:
    return jax.jit(lambda: optimizer.transform.update(grads, optimizer.transform.init(params), params)[0])()


def test_adamw_is_optax_s_with_decay_on_matrices() -> None:
    params, optimizer = made(weight_decay=0.3, adam={"b1": 0.8, "b2": 0.9, "eps": 1e-6})
    mask = jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    reference = optax.adamw(optimizer.schedules["adam"], b1=0.8, b2=0.9, eps=1e-6, weight_decay=0.3, mask=mask)
    state, expected_state = optimizer.transform.init(params), reference.init(params)
    for seed in range(3):
        grads = gradients(params, seed)
        updates, state = optimizer.transform.update(grads, state, params)
        expected, expected_state = reference.update(grads, expected_state, params)
        jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), updates, expected)
        params = optax.apply_updates(params, updates)


def test_lion_is_optax_s_with_decay_on_matrices() -> None:
    params, optimizer = made(name="lion", weight_decay=0.3, lion={"b1": 0.8, "b2": 0.95})
    mask = jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    reference = optax.lion(optimizer.schedules["lion"], b1=0.8, b2=0.95, weight_decay=0.3, mask=mask)
    state, expected_state = optimizer.transform.init(params), reference.init(params)
    for seed in range(3):
        grads = gradients(params, seed)
        updates, state = optimizer.transform.update(grads, state, params)
        expected, expected_state = reference.update(grads, expected_state, params)
        jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), updates, expected)
        params = optax.apply_updates(params, updates)


def test_lion_takes_what_muon_leaves() -> None:
    """Every other number moves by the rate, in the direction against its gradient."""
    params, optimizer = made(name="muon", weight_decay=0.0, muon={"lr_scale": 7.0, "rest": "lion"})
    grads = gradients(params)
    updates = first_update(optimizer, params, grads)
    np.testing.assert_allclose(updates.embed.weight, -1e-2 * np.sign(grads.embed.weight), rtol=1e-6)
    assert np.unique(np.abs(updates.lm_head.weight)).size > 100
    assert {row.group for row in optimizer.rows} == {"muon", "lion"}
    assert float(optimizer.lr(0)["lr_muon"]) == pytest.approx(7e-2)


def test_muon_s_update_is_nearly_orthogonal_and_scaled_by_width() -> None:
    """The head is [61, 16]: every singular value of the update is about lr * sqrt(61 / 16)."""
    params, optimizer = made(name="muon", weight_decay=0.0, muon={"lr_scale": 5.0})
    update = first_update(optimizer, params, gradients(params)).lm_head.weight
    values = np.linalg.svd(np.asarray(update), compute_uv=False) / (1e-2 * 5.0 * (61 / 16) ** 0.5)
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_muon_s_iterations_on_cpus_are_optax_s(shape: tuple[int, int]) -> None:
    """Of tall, wide and square matrices, alone and on a stack; measured 1e-6."""
    matrices = jnp.asarray(np.random.default_rng(0).normal(size=(3, *shape)), jnp.float32)
    rule = optax.contrib.scale_by_muon(beta=0.0, nesterov=False)
    for seed, matrix in enumerate(matrices):
        expected, _ = rule.update(matrix, rule.init(matrix))
        normal = matrices / jnp.linalg.norm(matrices, axis=(1, 2), keepdims=True)
        for found in (
            orthogonalised(normal[seed], 5),
            orthogonalised(normal, 5)[seed],
        ):
            np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)


def test_muon_s_iterations_in_bf16_round_and_keep_the_direction_and_the_state() -> None:
    rule: dict[str, Any] = {"name": "muon", "weight_decay": 0.0}
    params, exact = made("megalodon", **rule)
    _, rounded = made("megalodon", **rule, muon={"ns_dtype": "bfloat16"})
    grads = gradients(params)
    paths = [jax.tree.map(jnp.shape, jax.eval_shape(one.transform.init, params)) for one in (exact, rounded)]
    assert jax.tree.leaves(paths[0]) == jax.tree.leaves(paths[1])
    shares = []
    for one, other in zip(
        *(jax.tree.leaves(first_update(rule, params, grads)) for rule in (exact, rounded)), strict=True
    ):
        assert one.dtype == other.dtype
        shares.append(float(jnp.abs(one - other).max() / jnp.abs(one).max()))
    # bf16 has 8 bits; what Muon does not update is the same.
    assert 2**-12 < max(shares) < 2**-3
    assert min(shares) == 0.0


def test_muon_s_width_scale_counts_outputs_over_inputs() -> None:
    """fc2 maps 48 to 32, so it is not enlarged; fc1 maps 32 to 48, so it is."""
    params, optimizer = made("megalodon", name="muon", weight_decay=0.0, muon={"lr_scale": 1.0})
    ffn = first_update(optimizer, params, gradients(params)).model.layers[0].ffn
    sizes = {name: np.linalg.norm(np.asarray(getattr(ffn, name).weight)) / 1e-2 / 32**0.5 for name in ("fc1", "fc2")}
    assert sizes["fc1"] / sizes["fc2"] == pytest.approx((48 / 32) ** 0.5, rel=0.1)
    assert sizes["fc2"] == pytest.approx(1.0, rel=0.15)


def test_consistent_rms_gives_every_matrix_that_size() -> None:
    params, optimizer = made("megalodon", name="muon", weight_decay=0.0, muon={"lr_scale": 1.0, "consistent_rms": 0.2})
    layer = first_update(optimizer, params, gradients(params)).model.layers[0]
    for weight in (layer.ffn.fc1.weight, layer.attn.wz.weight, layer.attn.wh2.weight):
        assert np.sqrt(np.mean(np.square(weight))) / 1e-2 == pytest.approx(0.2, rel=0.15)


def test_muon_s_decay_is_multiplied_and_others_are_not() -> None:
    params, optimizer = made(name="muon", weight_decay=0.1, muon={"lr_scale": 10.0, "weight_decay_mult": 0.5})
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = first_update(optimizer, params, zeros)
    np.testing.assert_allclose(updates.lm_head.weight, -0.1 * 0.05 * params.lm_head.weight, rtol=1e-5)
    np.testing.assert_allclose(updates.embed.weight, -0.01 * 0.1 * params.embed.weight, rtol=1e-5)
    assert not np.any(updates.lm_head.bias)


def test_rates_by_group() -> None:
    _, muon = made(name="muon", muon={"lr_scale": 7.0})
    _, adamw = made()
    assert {name: float(rate) for name, rate in muon.lr(0).items()} == pytest.approx({"lr": 1e-2, "lr_muon": 7e-2})
    assert {name: float(rate) for name, rate in adamw.lr(0).items()} == pytest.approx({"lr": 1e-2})


@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_moments_are_fp32_beside_bf16_parameters_and_stay_so(name: str) -> None:
    params, optimizer = made(name=name, model={"param_dtype": "bfloat16"})
    state = optimizer.transform.init(params)
    _, after = optimizer.transform.update(gradients(params), state, params)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(state)}
    assert dtypes == {"float32", "int32"}
    assert jax.tree.map(lambda leaf: leaf.dtype, state) == jax.tree.map(lambda leaf: leaf.dtype, after)
