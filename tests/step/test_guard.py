"""A loss or gradient that is not finite never reaches parameters or optimizer state."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from chomp.data.batch import IGNORED
from chomp.step.state import TrainState, release_latch, slow_down
from tests.model.tiny import packed_batch
from tests.step.running import copied, dummy_run, same, with_infinity

HALT: dict[str, Any] = {"debug": {"nonfinite": "halt"}}
SKIP: dict[str, Any] = {"debug": {"nonfinite": "skip"}}
ROLLBACK: dict[str, Any] = {"debug": {"nonfinite": "rollback"}}
RULES = ["adamw", "muon"]


def counters(state: TrainState) -> tuple[int, int, int, int]:
    return int(state.step), int(state.updates), int(state.skipped), int(state.skipped_in_a_row)


def healed(state: TrainState, donor: TrainState) -> TrainState:
    return eqx.tree_at(lambda s: s.params, state, copied(donor).params)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("policy", [HALT, SKIP, ROLLBACK], ids=["halt", "skip", "rollback"])
def test_parameters_and_optimizer_stay_as_before(policy: dict[str, Any], name: str) -> None:
    step, state = dummy_run(**policy, optim={"name": name})
    state, _ = step(state, packed_batch(0))
    state = with_infinity(state)
    before = copied(state)
    after, metrics = step(state, packed_batch(1))
    assert not bool(metrics.finite)
    assert same((after.params, after.opt_state), (before.params, before.opt_state))
    assert int(after.updates) == int(before.updates) == 1


def test_a_learning_rate_that_explodes_is_caught() -> None:
    step, state = dummy_run(**HALT, optim={"lr": 1e12, "warmup_steps": 0, "grad_clip_norm": 0})
    for number in range(20):
        before = copied(state)
        state, metrics = step(state, packed_batch(number))
        if not metrics.finite:
            break
    else:
        pytest.fail("twenty updates of size 1e12 stayed finite")
    assert same((state.params, state.opt_state), (before.params, before.opt_state))
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("policy", [HALT, ROLLBACK], ids=["halt", "rollback"])
def test_halt_latches_until_released(policy: dict[str, Any]) -> None:
    step, state = dummy_run(**policy)
    state, _ = step(state, packed_batch(0))
    good = copied(state)
    state, metrics = step(with_infinity(state), packed_batch(1))
    assert counters(state) == (1, 1, 1, 1)
    assert (int(metrics.skipped), int(metrics.skipped_in_a_row)) == (1, 1)

    state = healed(state, good)
    before = copied(state)
    state, metrics = step(state, packed_batch(2))
    assert same(state, before)
    assert not bool(metrics.finite)
    assert np.isfinite(float(metrics.loss))

    state, metrics = step(release_latch(state), packed_batch(2))
    assert bool(metrics.finite)
    assert counters(state) == (2, 2, 1, 0)


def test_skip_counts_goes_on_and_forgets_the_row() -> None:
    step, state = dummy_run(**SKIP)
    state, _ = step(state, packed_batch(0))
    good = copied(state)
    state, _ = step(with_infinity(state), packed_batch(1))
    state, metrics = step(state, packed_batch(2))
    assert counters(state) == (3, 1, 2, 2)
    assert int(metrics.skipped_in_a_row) == 2
    state, metrics = step(healed(state, good), packed_batch(3))
    assert bool(metrics.finite)
    assert counters(state) == (4, 2, 2, 0)


def test_the_rate_after_a_skip_is_the_one_that_was_not_used() -> None:
    step, state = dummy_run(**SKIP, optim={"warmup_steps": 10})
    good = copied(state)
    state, first = step(with_infinity(state), packed_batch(0))
    _, second = step(healed(state, good), packed_batch(1))
    assert float(first.lr) == float(second.lr) > 0


@pytest.mark.parametrize("policy", [HALT, SKIP], ids=["halt", "skip"])
def test_a_batch_without_loss_tokens_is_a_step_without_update(policy: dict[str, Any]) -> None:
    step, state = dummy_run(**policy, optim={"weight_decay": 0.5})
    before = copied(state)
    batch = packed_batch(0)
    state, metrics = step(state, batch._replace(labels=np.full_like(batch.labels, IGNORED)))
    assert (float(metrics.loss), float(metrics.grad_norm), int(metrics.tokens)) == (0.0, 0.0, 0)
    assert bool(metrics.finite)
    assert counters(state) == (1, 0, 0, 0)
    assert same((state.params, state.opt_state), (before.params, before.opt_state))


@pytest.mark.parametrize("name", ["adamw", "muon", "lion"])
def test_a_slowed_state_moves_by_the_factor_until_its_last_step(name: str) -> None:
    step, state = dummy_run(**ROLLBACK, optim={"name": name, "weight_decay": 0.5, "warmup_steps": 0})
    start = copied(state)
    full, full_metrics = step(copied(start), packed_batch(0))
    slow, slow_metrics = step(slow_down(copied(start), 0.25, 1), packed_batch(0))
    assert float(slow_metrics.lr) == 0.25 * float(full_metrics.lr)
    assert slow_metrics.group_lrs.keys() == full_metrics.group_lrs.keys() == ({"lr_muon"} if name == "muon" else set())
    for group, rate in full_metrics.group_lrs.items():
        assert float(slow_metrics.group_lrs[group]) == 0.25 * float(rate)
    moves = zip(*(jax.tree.leaves(one.params) for one in (start, full, slow)), strict=True)
    for before, far, near in moves:
        assert np.any(np.asarray(far) != np.asarray(before))
        # Each of the two sums is rounded once, to the precision of the parameter.
        rounding = np.finfo(np.float32).eps * float(abs(before).max())
        np.testing.assert_allclose(near - before, 0.25 * (far - before), rtol=1e-6, atol=rounding)
    assert same(full.opt_state, slow.opt_state)
    _, ended = step(slow, packed_batch(1))
    _, whole = step(full, packed_batch(1))
    assert float(ended.lr) == float(whole.lr)


def test_a_state_that_is_not_slowed_takes_the_same_steps_under_every_policy() -> None:
    ends = []
    for policy in (HALT, SKIP, ROLLBACK):
        step, state = dummy_run(**policy)
        for number in range(3):
            state, _ = step(state, packed_batch(number))
        ends.append(copied(state))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])
