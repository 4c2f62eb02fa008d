"""Compiled steps around tiny models, and ways to look at what they did."""

import functools
import json
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.step.state import Extras, TrainState, abstract_state, init_state
from chomp.step.train_step import StepMetrics, compile_train_step, make_train_step
from tests.model.tiny import packed_batch, parts, shapes_of, tiny_config

Run = tuple[Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]], TrainState]


def started(config: Config, batch: Batch, seed: int = 0) -> Run:
    """A compiled step for the batch's shape and a fresh state."""
    model_def, optimizer, _ = parts(config)
    train_step = make_train_step(model_def, optimizer, config)
    extras = Extras.of(config)
    compiled = compile_train_step(train_step, abstract_state(model_def, optimizer, extras), shapes_of(batch))
    return compiled, init_state(model_def, optimizer, seed, extras=extras)


@functools.cache
def _compiled_dummy(sections: str) -> Any:
    return started(tiny_config("dummy", **json.loads(sections)), packed_batch(0))


def dummy_run(**sections: Any) -> Run:
    """The dummy model's step for `packed_batch(seed)`, compiled once per configuration, with a state of its own."""
    compiled, state = _compiled_dummy(json.dumps(sections, sort_keys=True))
    return compiled, copied(state)


def copied(state: TrainState) -> TrainState:
    """The same state in memory of its own, as a step consumes the one it is given."""
    return jax.tree.map(jnp.copy, state)


def with_infinity(state: TrainState) -> TrainState:
    """The state with one parameter of the dummy model's head at infinity."""
    weight = state.params.lm_head.weight
    return eqx.tree_at(lambda s: s.params.lm_head.weight, state, weight.at[0, 0].set(jnp.inf))


def same(first: Any, second: Any) -> bool:
    """Whether two trees hold the same bits."""
    return all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )
