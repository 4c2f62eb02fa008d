"""Learning rate as a function of the updates already applied."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chomp.config.derive import Derived
from chomp.config.optim import OptimConfig

Count: TypeAlias = Int[Array, ""] | int
Schedule: TypeAlias = Callable[[Count], Float[Array, ""]]


# Share of the way down that is still left: 1 at progress 0, 0 at progress 1. `OptimConfig.decay_shape` has these names.
SHAPES: dict[str, Callable[[Float[Array, ""]], Float[Array, ""]]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
    "sqrt": lambda progress: 1.0 - jnp.sqrt(progress),
}


def make_schedule(optim: OptimConfig, derived: Derived, peak_lr: float) -> Schedule:
    """Return count -> learning rate, where `count` is the number of updates already applied (0 at the first).

    Linear warm-up makes update k of W use `peak_lr * k / W`, so the first is above zero and the last is the peak.

    - `cosine`: then half a cosine from the peak down to `min_lr_ratio * peak_lr` over the decay, constant after it
      (Loshchilov and Hutter 2017, without restarts).
    - `wsd`: then constant, then a final decay that ends with the run, by `decay_shape`: `linear`, `cosine`, or
      `sqrt`, 1 - sqrt(progress) (Hägele et al. 2024, arXiv 2405.18392).

    Args:
        optim: shape and lengths as configured.
        derived: `decay_steps_effective` and `schedule_steps`, the step at which the decay ends.
        peak_lr: the highest rate; Muon's group passes a scaled one.
    """
    warmup, decay = optim.warmup_steps, derived.decay_steps_effective
    remaining = SHAPES["cosine" if optim.schedule == "cosine" else optim.decay_shape]
    decay_start = derived.schedule_steps - decay
    floor = optim.min_lr_ratio

    def schedule(count: Count) -> Float[Array, ""]:
        done = jnp.asarray(count, jnp.float32)
        rising = (done + 1.0) / max(warmup, 1)
        progress = jnp.clip((done - decay_start) / max(decay, 1), 0.0, 1.0)
        falling = floor + (1.0 - floor) * remaining(progress)
        return jnp.asarray(peak_lr, jnp.float32) * jnp.where(done < warmup, rising, falling)

    return schedule
