"""What a metrics row says: numbers of one step, and speeds over the steps since the row before."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from chomp.config import Config
from chomp.data.pipeline import SourceProgress
from chomp.step.train_step import StepMetrics
from chomp.train.clock import SpeedMeter, TimeBudget
from chomp.train.machine import device_memory_gb, host_memory_gb
from chomp.train.progress import Pending


def shortest_repr(value: Any) -> float:
    """A scalar array's number with the fewest digits that are exact in its own dtype.

    An fp32 number becomes 2.5312243, not 2.531224250793457; read as fp32 both have the same bits.
    """
    return float(str(np.asarray(value)[()]))


def numbers_of(metrics: StepMetrics) -> dict[str, float]:
    """The part of a row that follows from its step alone."""
    return {
        "loss": shortest_repr(metrics.loss),
        "grad_norm": shortest_repr(metrics.grad_norm),
        "lr": shortest_repr(metrics.lr),
        **{name: shortest_repr(value) for name, value in metrics.terms.items()},
        **{name: shortest_repr(rate) for name, rate in metrics.group_lrs.items()},
    }


def by_source(losses: Mapping[str, float], read: Mapping[str, SourceProgress]) -> dict[str, float]:
    """What a row has of each source of a mixture.

    Args:
        losses: mean loss since the last row; without those that were not read since.
        read: tokens and passes so far.
    """
    return {
        **{f"loss/{name}": round(mean, 6) for name, mean in losses.items()},
        **{f"tokens/{name}": source.tokens for name, source in read.items()},
        **{f"epochs/{name}": round(source.epochs, 4) for name, source in read.items()},
    }


class MetricsAggregator:
    """Collects completed steps and makes a row of them.

    Speed, packing and MFU describe all steps since the last row; loss, gradient norm and
    learning rate are those of the row's own step.

    Args:
        flops_per_token: analytic training FLOPs per token read.
        peak_flops: the device's peak per second, None where unknown: rows then have no `mfu`.
    """

    def __init__(
        self,
        config: Config,
        budget: TimeBudget,
        *,
        tokens_per_step: int,
        flops_per_token: float,
        peak_flops: float | None,
    ):
        self._config = config
        self._tokens_per_step = tokens_per_step
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._compile_seconds: float | None = None
        self._window = SpeedMeter(budget)
        self._utilizations: list[float] = []

    def compiled(self, seconds: float) -> None:
        """Put the seconds that the step took to compile into the next row."""
        self._compile_seconds = seconds

    def completed(self, pending: Pending, tokens: int) -> None:
        """Count one completed step of `tokens` loss tokens."""
        self._window.completed(tokens)
        self._utilizations.append(pending.utilization)

    def make(
        self, step: int, metrics: StepMetrics, tokens_seen: int, sources: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The row of step `step`; begins the next window.

        Args:
            sources: numbers by source of a mixture.
        """
        speed = self._window.read()
        row: dict[str, Any] = {"step": step, **numbers_of(metrics), **sources}
        row["tokens_seen"] = tokens_seen
        row["tokens_per_sec"] = round(speed.tokens_per_sec, 2)
        row["step_time_s"] = round(speed.step_time_s, 6)
        if self._peak_flops and speed.seconds > 0:
            read = sum(self._utilizations) * self._tokens_per_step
            row["mfu"] = round(read * self._flops_per_token / speed.seconds / self._peak_flops, 4)
        row["packing_mode"] = self._config.data.packing_mode
        row["packing_utilization"] = round(sum(self._utilizations) / len(self._utilizations), 4)
        if self._compile_seconds is not None:
            row["first_step_compile_time_s"], self._compile_seconds = round(self._compile_seconds, 3), None
        row |= {**device_memory_gb(), "host_memory_gb": round(host_memory_gb(), 3)}
        self._utilizations.clear()
        self._window.restart()
        return row

    def restart(self) -> None:
        """Begin the window of steps here, without those completed before."""
        self._utilizations.clear()
        self._window.restart()

    def has_steps(self) -> bool:
        """Whether a step has completed since the last row."""
        return bool(self._utilizations)
