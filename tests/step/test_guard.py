"""A loss or gradient that is not finite never reaches parameters or optimizer state."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from chomp.data.batch import IGNORED
from chomp.step.state import TrainState, release_latch
from tests.model.tiny import packed_batch
from tests.step.running import copied, dummy_run, same, with_infinity

HALT: dict[str, Any] = {"debug": {"nonfinite": "halt"}}
SKIP: dict[str, Any] = {"debug": {"nonfinite": "skip"}}
RULES = ["adamw", "muon"]


def counters(state: TrainState) -> tuple[int, int, int, int]:
    return int(state.step), int(state.updates), int(state.skipped), int(state.skipped_in_a_row)


def healed(state: TrainState, donor: TrainState) -> TrainState:
    return eqx.tree_at(lambda s: s.params, state, copied(donor).params)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("policy", [HALT, SKIP], ids=["halt", "skip"])
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


def test_halt_latches_until_released() -> None:
    step, state = dummy_run(**HALT)
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
