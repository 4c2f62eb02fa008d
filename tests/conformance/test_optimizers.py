"""What every update rule must do."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chomp.model.base import ModelInputs
from chomp.optim.build import Optimizer
from tests.model.tiny import packed_batch, parts, tiny_config

RULES: list[dict[str, Any]] = [
    {"name": "adamw"},
    {"name": "adamw", "adam": {"nesterov": True}},
    {"name": "lion", "lr": 1e-2},
    {"name": "muon", "lr": 1e-4},
    {"name": "muon", "lr": 1e-4, "muon": {"rest": "lion"}},
    {"name": "muon", "lr": 1e-4, "muon": {"nesterov": False, "consistent_rms": 0.2, "ns_steps": 3}},
    {"name": "muon", "lr": 1e-4, "muon": {"allow_all_2d": True}},
]

pytestmark = pytest.mark.parametrize("rule", RULES, ids=str)


def made(rule: dict[str, Any], **optim: Any) -> tuple[Any, Any, Optimizer]:
    config = tiny_config("dummy", optim={"warmup_steps": 0, "lr": 1e-2, **rule, **optim})
    model_def, optimizer, _ = parts(config)
    return model_def, model_def.init(jax.random.key(0)), optimizer


def test_lowers_the_loss(rule: dict[str, Any]) -> None:
    model_def, params, optimizer = made(rule)
    batch = packed_batch(0, rows=4)
    rows = jax.tree.map(jnp.asarray, (batch.input_ids[0], batch.labels[0], batch.segment_ids[0]))

    def loss(params: Any) -> Any:
        total, count = model_def.combine(params).loss_sum(ModelInputs(*rows))
        return total / count

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.transform.init(params)
    values = []
    for _ in range(20):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[-1] < values[0] - 0.05


def test_state_is_arrays_of_a_fixed_shape(rule: dict[str, Any]) -> None:
    _, params, optimizer = made(rule)
    state = optimizer.transform.init(params)
    _, after = optimizer.transform.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(state))
    assert jax.tree.structure(state) == jax.tree.structure(after)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)
    ]


def test_without_gradient_only_matrices_shrink(rule: dict[str, Any]) -> None:
    _, params, optimizer = made(rule, weight_decay=0.5)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.transform.update(zeros, optimizer.transform.init(params), params)
    assert not np.any(updates.lm_head.bias)
    for update, weight in (
        (updates.embed.weight, params.embed.weight),
        (updates.lm_head.weight, params.lm_head.weight),
    ):
        np.testing.assert_allclose(np.sign(update), -np.sign(weight))


def test_reported_rate_is_the_one_applied(rule: dict[str, Any]) -> None:
    """A decay of one and no gradient makes an update -lr times the weight."""
    _, params, optimizer = made(rule, weight_decay=1.0, warmup_steps=5)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = optimizer.transform.init(params)
    groups = {given.path: given.group for given in optimizer.assigned}
    for count in range(4):
        updates, state = optimizer.transform.update(zeros, state, params)
        rates = optimizer.lr(count)
        head = rates["lr_muon"] if groups["lm_head.weight"] == "muon" else rates["lr"]
        np.testing.assert_allclose(updates.lm_head.weight, -head * params.lm_head.weight, rtol=1e-5)


def test_every_setting_of_a_finite_gradient_gives_a_finite_update(rule: dict[str, Any]) -> None:
    _, params, optimizer = made(rule)
    for size in (0.0, 1e-20, 1e10):
        grads = jax.tree.map(lambda leaf, size=size: jnp.full(leaf.shape, size, jnp.float32), params)
        updates, _ = optimizer.transform.update(grads, optimizer.transform.init(params), params)
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(updates))


def test_a_refused_update_leaves_the_state_bit_for_bit(rule: dict[str, Any]) -> None:
    _, params, optimizer = made(rule)
    ones = jax.tree.map(jnp.ones_like, params)
    _, before = optimizer.transform.update(ones, optimizer.transform.init(params), params)
    spoilt = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    after = {}
    for applied in (False, True):
        update = jax.jit(
            lambda grads, state, applied: optimizer.transform.update(grads, state, params, applied=applied)
        )
        _, after[applied] = update(spoilt if not applied else ones, before, jnp.asarray(applied))
    kept = [leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(before))]
    assert [leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(after[False]))] == kept
    assert [leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(after[True]))] != kept


def test_an_applied_update_is_that_of_a_call_that_does_not_say(rule: dict[str, Any]) -> None:
    _, params, optimizer = made(rule)
    ones, state = jax.tree.map(jnp.ones_like, params), optimizer.transform.init(params)
    said, unsaid = (optimizer.transform.update(ones, state, params, **more) for more in ({"applied": True}, {}))
    assert [leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(said))] == [
        leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(unsaid))
    ]
