"""Spikes inside the compiled step, by the rule of the host."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.notify.spike import LEAST, WINDOW, limits_of
from chomp.step.state import TrainState, release_spike_latch, with_extras
from tests.model.tiny import packed_batch
from tests.step.running import copied, dummy_run, same


def spikes(policy: str, **optim: Any) -> dict[str, Any]:
    return {"debug": {"spikes": policy}, "optim": {"warmup_steps": 0, **optim}}


def with_window(state: TrainState, loss: float, grad_norm: float, known: int = WINDOW) -> TrainState:
    """The state after many steps of the same loss and gradient norm."""
    assert state.spikes is not None
    losses, norms = (jnp.full(WINDOW, jnp.nan).at[WINDOW - known :].set(value) for value in (loss, grad_norm))
    return dataclasses.replace(state, spikes=dataclasses.replace(state.spikes, losses=losses, grad_norms=norms))


@pytest.mark.parametrize("known", [0, LEAST - 1, LEAST, 100, WINDOW])
def test_numpy_and_jax_agree_on_the_limits(known: int) -> None:
    values = np.full((2, WINDOW), np.nan, np.float32)
    values[:, WINDOW - known :] = np.random.default_rng(known).normal(3, 0.1, (2, known))
    host, device = limits_of(*values, 6.0), limits_of(*map(jnp.asarray, values), 6.0)
    np.testing.assert_allclose(host, device, rtol=1e-6)
    assert np.isinf(host).all() == (known < LEAST)


@pytest.mark.parametrize(("loss", "grad_norm"), [(0.1, 1e6), (1e6, 1e-6)], ids=["loss", "norm"])
def test_skip_refuses_the_update_counts_and_goes_on(loss: float, grad_norm: float) -> None:
    step, state = dummy_run(**spikes("skip"))
    state = with_window(state, loss, grad_norm)
    before = copied(state)
    state, metrics = step(state, packed_batch(0))
    assert metrics.spike is not None
    assert bool(metrics.spike.found)
    assert bool(metrics.finite)
    assert same((state.params, state.opt_state), (before.params, before.opt_state))
    assert (int(state.step), int(state.updates), int(state.skipped)) == (1, 0, 0)
    assert state.spikes is not None
    assert (int(state.spikes.refused), int(state.spikes.refused_in_a_row)) == (1, 1)
    # It is one of the values by which the next step is judged.
    assert float(state.spikes.losses[-1]) == float(metrics.loss)
    state, metrics = step(with_window(state, 1e6, 1e6), packed_batch(1))
    assert metrics.spike is not None
    assert not bool(metrics.spike.found)
    assert (int(state.step), int(state.updates)) == (2, 1)
    assert state.spikes is not None
    assert (int(state.spikes.refused), int(state.spikes.refused_in_a_row)) == (1, 0)


def test_rollback_stays_where_it_is_until_released() -> None:
    step, state = dummy_run(**spikes("rollback"))
    state = with_window(state, 0.1, 1e6)
    before = copied(state)
    state, metrics = step(state, packed_batch(0))
    assert metrics.spike is not None
    assert bool(metrics.spike.found)
    latched = copied(state)
    state, metrics = step(state, packed_batch(1))
    assert same(state, latched)
    assert not bool(metrics.finite)
    released = release_spike_latch(state)
    assert released.spikes is not None
    assert before.spikes is not None
    assert int(released.spikes.refused) == 1
    again = dataclasses.replace(released, spikes=dataclasses.replace(released.spikes, refused=before.spikes.refused))
    assert same(again, before)
    state, metrics = step(with_window(released, 1e6, 1e6), packed_batch(1))
    assert bool(metrics.finite)
    assert int(state.step) == 1


@pytest.mark.parametrize(("optim", "known"), [({"warmup_steps": 10}, WINDOW), ({}, LEAST - 1)], ids=["warm-up", "few"])
def test_what_is_not_judged_moves_as_without_the_policy(optim: dict[str, Any], known: int) -> None:
    judging, state = dummy_run(**spikes("skip", **optim))
    plain, other = dummy_run(**spikes("warn", **optim))
    state, metrics = judging(with_window(state, 0.1, 0.1, known), packed_batch(0))
    other, _ = plain(other, packed_batch(0))
    assert metrics.spike is not None
    assert not bool(metrics.spike.found)
    assert same(state.opt_state, other.opt_state)
    # Two programs: in one of them the compiler may round a product before it is subtracted from a parameter.
    for one, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_max_ulp(np.asarray(one), np.asarray(theirs), maxulp=1)


def test_a_state_that_begins_to_judge_and_to_average_is_a_state_of_that_step() -> None:
    sections = {"optim": {"warmup_steps": 0, "ema": {"decay": 0.15}}, "debug": {"spikes": "skip"}}
    step, like = dummy_run(**sections)
    _, plain = dummy_run(optim={"warmup_steps": 0})
    state = with_extras(plain, like)
    expected, _ = step(like, packed_batch(0))
    # The step writes to the buffers that it is given: no two of them may be one.
    state, metrics = step(state, packed_batch(0))
    assert metrics.spike is not None
    assert same(state, expected)


def test_the_average_follows_the_parameters_and_leaves_out_refused_steps() -> None:
    step, state = dummy_run(optim={"warmup_steps": 0, "ema": {"decay": 0.15}}, debug={"spikes": "skip"})
    expected = np.asarray(state.params.lm_head.weight, np.float32)
    for update in (1, 2, 3):
        state, _ = step(state, packed_batch(update))
        kept = min(0.15, update / (update + 9))
        expected = kept * expected + (1 - kept) * np.asarray(state.params.lm_head.weight)
        np.testing.assert_allclose(state.ema.lm_head.weight, expected, rtol=1e-5, atol=1e-7)
    before = copied(state)
    state, metrics = step(with_window(state, 0.1, 1e6), packed_batch(4))
    assert metrics.spike is not None
    assert bool(metrics.spike.found)
    assert same(state.ema, before.ema)
