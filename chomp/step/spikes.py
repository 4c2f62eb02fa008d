"""Refusing a step whose loss or gradient norm is a spike, inside the compiled step.

The window of the last losses and gradient norms is part of the train state: a resume judges as the run would have, and
all devices judge alike.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chomp.config.schema import Config
from chomp.notify.spike import WINDOW, limits_of


class SpikeWindow(eqx.Module):
    """What steps are judged by.

    Attributes:
        losses: the last ones that were finite, the oldest first; NaN where there are none yet.
        grad_norms: of the same steps.
        refused: steps refused so far.
        refused_in_a_row: how many of the last steps were; above zero under the policy `rollback`, nothing moves.
    """

    losses: Float[Array, " window"]
    grad_norms: Float[Array, " window"]
    refused: Int[Array, ""]
    refused_in_a_row: Int[Array, ""]


class SpikeVerdict(NamedTuple):
    """What is reported of a step.

    Attributes:
        found: it is a spike; its update is refused.
        loss_limit: the greatest loss that is none.
        grad_norm_limit: the greatest gradient norm that is none.
        refused: as in `SpikeWindow`, after this step.
        refused_in_a_row: likewise.
    """

    found: Bool[Array, ""]
    loss_limit: Float[Array, ""]
    grad_norm_limit: Float[Array, ""]
    refused: Int[Array, ""]
    refused_in_a_row: Int[Array, ""]


Judge: TypeAlias = Callable[
    [SpikeWindow, Float[Array, ""], Float[Array, ""], Bool[Array, ""], Int[Array, ""]], tuple[SpikeWindow, SpikeVerdict]
]


def refuses_spikes(config: Config) -> bool:
    """Whether the compiled step judges: a warning is the host's work."""
    return config.debug.spikes != "warn"


def empty_window() -> SpikeWindow:
    """Return the window of a run that begins, or that begins to judge."""
    nothing, zero = jnp.full(WINDOW, jnp.nan, jnp.float32), jnp.zeros((), jnp.int32)
    return SpikeWindow(losses=nothing, grad_norms=nothing, refused=zero, refused_in_a_row=zero)


def make_judge(config: Config) -> Judge:
    """Return (window, loss, gradient norm, counts, updates) -> (window, verdict).

    `counts` is false for a step that would not move the parameters anyway: it is not judged and leaves the window as it
    is. A spike enters the window under `skip`; under `rollback` the state stays that of the step before.
    """
    deviations, warmup = config.debug.spike_deviations, config.optim.warmup_steps
    goes_back = config.debug.spikes == "rollback"

    def judge(
        window: SpikeWindow,
        loss: Float[Array, ""],
        grad_norm: Float[Array, ""],
        counts: Bool[Array, ""],
        updates: Int[Array, ""],
    ) -> tuple[SpikeWindow, SpikeVerdict]:
        limits = limits_of(window.losses, window.grad_norms, deviations)
        above = (loss > limits.loss) | (grad_norm > limits.grad_norm)
        found = counts & (updates >= warmup) & above
        enters = counts & ~found if goes_back else counts
        stays = window.refused_in_a_row if goes_back else jnp.zeros((), jnp.int32)
        judged = SpikeWindow(
            losses=_with(window.losses, loss, enters),
            grad_norms=_with(window.grad_norms, grad_norm, enters),
            refused=window.refused + found.astype(jnp.int32),
            refused_in_a_row=jnp.where(found, window.refused_in_a_row + 1, stays),
        )
        return judged, SpikeVerdict(found, limits.loss, limits.grad_norm, judged.refused, judged.refused_in_a_row)

    return judge


def _with(values: Float[Array, " window"], value: Float[Array, ""], enters: Bool[Array, ""]) -> Float[Array, " window"]:
    return jnp.where(enters, jnp.roll(values, -1).at[-1].set(value), values)
