"""A step that was refused, because it is not finite or a spike: in words, as an event, and how many in a row may be."""

from __future__ import annotations

from dataclasses import dataclass

from chomp.config.run import DebugConfig
from chomp.notify.spike import Limits, spike_words
from chomp.record.events import NonFinite, RollbackCause, Spike
from chomp.step.train_step import StepMetrics
from chomp.train.metrics import shortest_repr


@dataclass(frozen=True)
class BadStep:
    """A refused step.

    Attributes:
        words: its loss and gradient norm.
        event: without its text; `action` is the policy.
        in_a_row: how many of the last steps were refused for this cause, and how many at most may be by `limit`.
    """

    cause: RollbackCause
    words: str
    event: NonFinite | Spike
    in_a_row: int
    most_in_a_row: int
    limit: str


def bad_step(step: int, metrics: StepMetrics, debug: DebugConfig) -> BadStep | None:
    """What is wrong with a step, whose metrics are on the host; None if nothing is."""
    spike = metrics.spike
    if metrics.finite and (spike is None or not spike.found):
        return None
    loss, grad_norm = shortest_repr(metrics.loss), shortest_repr(metrics.grad_norm)
    if spike is None or not metrics.finite:
        words = f"step {step}: the loss is {float(metrics.loss)} and the gradient norm {float(metrics.grad_norm)}"
        nonfinite = NonFinite(step, loss, grad_norm, int(metrics.skipped), debug.nonfinite)
        in_a_row, most = int(metrics.skipped_in_a_row), debug.max_consecutive_nonfinite
        return BadStep("nonfinite", words, nonfinite, in_a_row, most, "debug.max_consecutive_nonfinite")
    limits = Limits(spike.loss_limit, spike.grad_norm_limit)
    words = spike_words(step, float(metrics.loss), float(metrics.grad_norm), limits)
    found = Spike(
        step=step,
        loss=loss,
        grad_norm=grad_norm,
        action=debug.spikes,
        message=f"{words}: its update was not applied",
        loss_limit=shortest_repr(spike.loss_limit),
        grad_norm_limit=shortest_repr(spike.grad_norm_limit),
        skipped=int(spike.refused),
    )
    in_a_row, most = int(spike.refused_in_a_row), debug.max_consecutive_spikes
    return BadStep("spike", words, found, in_a_row, most, "debug.max_consecutive_spikes")
