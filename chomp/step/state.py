"""Everything a run carries from one step to the next, as arrays."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

from chomp.config.schema import Config
from chomp.model.build import ModelDef
from chomp.model.mtp import with_trunk
from chomp.optim.build import Optimizer
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.step.ema import start_average
from chomp.step.spikes import SpikeWindow, empty_window, refuses_spikes

_KEY_KIND = "threefry2x32"


class TrainState(eqx.Module):
    """Arrays only, so that it can be donated, saved and compared whole.

    Attributes:
        step: steps done; equals the batches that training has consumed.
        updates: optimizer updates applied; the schedules count these.
        skipped: steps whose update was dropped because loss or gradient was not finite.
        skipped_in_a_row: how many of the last steps were; above zero under the policy `halt`, nothing moves any more.
        params: the model's parameters.
        opt_state: the optimizer's state.
        rng: raw key data from which every step's dropout key is folded; never changes.
        lr_factor: what learning rates are multiplied by for a while after a rollback, see `slow_down`; 1 otherwise.
        lr_factor_until: the last step for which they are.
        spikes: what steps are judged by, if the compiled step judges; else None, which is no array.
        ema: the moving average of the parameters without extra heads, in fp32, if there is one; else None.
    """

    step: Int[Array, ""]
    updates: Int[Array, ""]
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    rng: UInt32[Array, " words"]
    lr_factor: Float[Array, ""]
    lr_factor_until: Int[Array, ""]
    spikes: SpikeWindow | None = None
    ema: PyTree = None

    def dropout_key(self) -> PRNGKeyArray:
        """Return this step's key: a function of the run's seed and the step number, so a resume repeats it."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.rng, impl=_KEY_KIND), self.step)


class Extras(NamedTuple):
    """What a state has only under some settings.

    Attributes:
        spikes: the compiled step judges losses and gradient norms.
        ema: there is a moving average of the parameters.
    """

    spikes: bool = False
    ema: bool = False

    @classmethod
    def of(cls, config: Config) -> "Extras":
        """Return what the configuration calls for."""
        return cls(spikes=refuses_spikes(config), ema=config.optim.ema.decay > 0)


def init_state(
    model_def: ModelDef,
    optimizer: Optimizer,
    seed: int,
    placement: Placement = ONE_DEVICE,
    trunk: PyTree | None = None,
    extras: Extras = Extras(),  # noqa: B008 - a tuple, never changed
) -> TrainState:
    """Draw parameters and start the optimizer in one compiled call; the bits are the same on every mesh.

    Args:
        model_def: from `build_model`.
        optimizer: from `build_optimizer` for the same model.
        seed: any non-negative integer below 2**32; `train.seed`.
        placement: where the arrays lie; each device draws its own part.
        trunk: parameters to start from, placed, in any floating dtype; extra heads are drawn.
        extras: what the state has beside.
    """

    def start(words: UInt32[Array, " words"], trunk: PyTree | None) -> TrainState:
        return _start(model_def, optimizer, words, trunk, extras)

    if placement.mesh is None:
        return jax.jit(start)(_seed_words(seed), trunk)
    shardings = placement.shardings(abstract_state(model_def, optimizer, extras))
    words = np.asarray(_seed_words(seed))
    # A number of the program: an argument would be an array of one process.
    return jax.jit(lambda trunk: start(jnp.asarray(words), trunk), out_shardings=shardings)(trunk)


def abstract_state(
    model_def: ModelDef,
    optimizer: Optimizer,
    extras: Extras = Extras(),  # noqa: B008 - a tuple, never changed
) -> TrainState:
    """Return the state's shapes and dtypes as `jax.ShapeDtypeStruct` without running anything."""
    return jax.eval_shape(lambda words: _start(model_def, optimizer, words, None, extras), _seed_words(0))


def release_latch(state: TrainState) -> TrainState:
    """Let a state that stopped on a non-finite step move again: a new attempt starts with none skipped in a row."""
    return dataclasses.replace(state, skipped_in_a_row=_like(state.skipped_in_a_row, np.int32(0)))


def release_spike_latch(state: TrainState) -> TrainState:
    """Let a state that stopped on a spike move again."""
    if state.spikes is None:
        return state
    spikes = dataclasses.replace(state.spikes, refused_in_a_row=_like(state.step, np.int32(0)))
    return dataclasses.replace(state, spikes=spikes)


def with_extras(state: TrainState, like: TrainState) -> TrainState:
    """Begin the extras that `like` has and a restored state lacks."""
    if like.spikes is not None and state.spikes is None:
        state = dataclasses.replace(state, spikes=jax.tree.map(lambda leaf: _like(state.step, leaf), empty_window()))
    if like.ema is not None and state.ema is None:
        state = dataclasses.replace(state, ema=start_average(state.params))
    return state


def slow_down(state: TrainState, factor: float, until: int) -> TrainState:
    """Multiply learning rates by `factor` up to and with step `until`; shapes stay, so nothing retraces."""
    return dataclasses.replace(
        state, lr_factor=_like(state.step, np.float32(factor)), lr_factor_until=_like(state.step, np.int32(until))
    )


def _like(scalar: Array, value: np.generic | Array) -> Array:
    """A small array of its own where `scalar` lies, also where that is on devices of other processes.

    A step is given its state's buffers to write to: no two arrays of a state may be one.
    """
    if not isinstance(scalar.sharding, jax.sharding.NamedSharding):
        return jnp.array(value)
    array = np.asarray(value)
    return jax.make_array_from_callback(array.shape, scalar.sharding, lambda index: array[index])


def _seed_words(seed: int) -> UInt32[Array, " words"]:
    return jax.random.key_data(jax.random.key(seed, impl=_KEY_KIND))


def _start(
    model_def: ModelDef, optimizer: Optimizer, words: UInt32[Array, " words"], trunk: PyTree | None, extras: Extras
) -> TrainState:
    model_key, run_key = jax.random.split(jax.random.wrap_key_data(words, impl=_KEY_KIND))
    params = model_def.make_params(model_key)
    if trunk is not None:
        # What is drawn for it is not used, and so not computed.
        params = with_trunk(params, trunk)

    def zero() -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    return TrainState(
        step=zero(),
        updates=zero(),
        skipped=zero(),
        skipped_in_a_row=zero(),
        params=params,
        opt_state=optimizer.transform.init(params),
        rng=jax.random.key_data(run_key),
        lr_factor=jnp.ones((), jnp.float32),
        lr_factor_until=zero(),
        spikes=empty_window() if extras.spikes else None,
        ema=start_average(params) if extras.ema else None,
    )
