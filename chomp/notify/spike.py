"""The rule by which a loss or gradient norm is a spike, for NumPy and for JAX, and the detector that warns of one.

OLMo-core (`SkipStepOptimizer`, `StabilityMonitorCallback`) and levanter (`optim/skipstep.py`) call a loss or gradient
norm a spike that lies 6 standard deviations above the mean of the last 128. Two things differ here. Medians take the
place of means, since a spike itself hardly moves them. The deviation is that of the differences between successive
values (von Neumann et al. 1941), which a falling loss does not inflate. As long as the loss falls, the median of the
last values lies above the next one: there the rule errs towards silence. Steps of the warm-up of the learning rate fill
the window and are not judged.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

WINDOW = 128
# Before so many values there is no judgement.
LEAST = WINDOW // 2
# A warning needs so many steps in a row above a limit, and as many below end the spike: one hard batch is no spike.
IN_A_ROW = 3
# The least distance of the limit from the median, relative to it: values that hardly vary have hardly a deviation.
LEAST_LOSS_RISE = 0.05
LEAST_NORM_RISE = 1.0
# Of normal numbers, standard deviation over median absolute deviation.
NORMAL = 1.4826


class Limits(NamedTuple):
    """The greatest loss and gradient norm that are no spike; infinite where there is no judgement."""

    loss: Any
    grad_norm: Any


def limits_of(losses: Any, grad_norms: Any, deviations: float) -> Limits:
    """Compute the limits of the next step.

    Args:
        losses: `[WINDOW]`, the oldest first, NaN where none is known yet; an array of NumPy or JAX.
        grad_norms: the same of gradient norms.
        deviations: `debug.spike_deviations`.
    """
    return Limits(_limit(losses, deviations, LEAST_LOSS_RISE), _limit(grad_norms, deviations, LEAST_NORM_RISE))


def _limit(values: Any, deviations: float, least_rise: float) -> Any:
    xp = values.__array_namespace__()
    middle = _median(values)
    changes = values[1:] - values[:-1]
    # A difference has twice the variance of a value.
    deviation = NORMAL / math.sqrt(2) * _median(abs(changes - _median(changes)))
    limit = middle + xp.maximum(deviations * deviation, least_rise * abs(middle))
    return xp.where(_known(values) < LEAST, math.inf, limit)


def _known(values: Any) -> Any:
    xp = values.__array_namespace__()
    return xp.sum(~xp.isnan(values))


def _median(values: Any) -> Any:
    """The median of the values that are not NaN; NaN if all are."""
    count = _known(values)
    # NaN is sorted to the end.
    ordered = values.__array_namespace__().sort(values)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def spike_words(step: int, loss: float, grad_norm: float, limits: Limits) -> str:
    """A spike in words, without a full stop."""
    return (
        f"step {step}: the loss is {loss:.4g} (limit {float(limits.loss):.4g}) and the gradient norm {grad_norm:.4g} "
        f"(limit {float(limits.grad_norm):.4g})"
    )


class Judged(NamedTuple):
    """A step, what it had, and the limits that it was judged by."""

    step: int
    loss: float
    grad_norm: float
    limits: Limits


class _Window:
    """The last values of one quantity, in order of time and of size."""

    def __init__(self, least_rise: float, values: Iterable[float] = ()) -> None:
        self._least_rise = least_rise
        self._values = deque(values)
        self._ordered = sorted(self._values)

    def add(self, value: float) -> None:
        if len(self._values) == WINDOW:
            del self._ordered[bisect_left(self._ordered, self._values.popleft())]
        self._values.append(value)
        insort(self._ordered, value)

    def is_calm(self, value: float) -> bool:
        """Whether a value lies below every limit that there can be: the deviation only raises the limit."""
        count = len(self._ordered)
        if count < LEAST:
            return True
        middle = (self._ordered[(count - 1) // 2] + self._ordered[count // 2]) / 2
        return value <= middle + self._least_rise * abs(middle)

    def values(self) -> list[float]:
        """The oldest first."""
        return list(self._values)

    def array(self) -> Any:
        """`[WINDOW]`, as `limits_of` wants it."""
        return np.array([*[np.nan] * (WINDOW - len(self._values)), *self._values])


class SpikeDetector:
    """Judges each step by those before it; a spike is reported once, when it begins.

    Args:
        saved: what `state` gave; empty for a detector that knows no step.
    """

    def __init__(self, saved: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._losses = _Window(LEAST_LOSS_RISE, saved.get("losses", ()))
        self._grad_norms = _Window(LEAST_NORM_RISE, saved.get("grad_norms", ()))
        self._in_a_row = int(saved.get("in_a_row", 0))
        self._is_in_spike = bool(saved.get("is_in_spike", False))
        self._first: Judged | None = None
        if (first := saved.get("first")) is not None:
            step, loss, grad_norm, *limits = first
            self._first = Judged(step, loss, grad_norm, Limits(*(math.inf if one is None else one for one in limits)))

    def state(self) -> dict[str, Any]:
        """All that later judgements depend on, for JSON; empty before the first step."""
        if not self._losses.values():
            return {}
        found: dict[str, Any] = {
            "losses": self._losses.values(),
            "grad_norms": self._grad_norms.values(),
            "in_a_row": self._in_a_row,
            "is_in_spike": self._is_in_spike,
        }
        if self._first is not None and self._in_a_row:
            step, loss, grad_norm, limits = self._first
            found["first"] = [step, loss, grad_norm, *(float(one) if math.isfinite(one) else None for one in limits)]
        return found

    def add(self, step: int, loss: float, grad_norm: float, deviations: float, *, judged: bool = True) -> Judged | None:
        """The first of `IN_A_ROW` steps above their limits, if this is the last of them.

        A step that is not finite is left out.

        Args:
            deviations: `debug.spike_deviations`.
            judged: whether the warm-up of the learning rate is over.
        """
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return None
        limits = None
        # Most steps are calm, and the limits take a hundred times as long as finding that out.
        if judged and not (self._losses.is_calm(loss) and self._grad_norms.is_calm(grad_norm)):
            # Of values near the largest float there is no difference, and then no limit.
            with np.errstate(over="ignore", invalid="ignore"):
                limits = limits_of(self._losses.array(), self._grad_norms.array(), deviations)
        is_above = limits is not None and bool(loss > limits.loss or grad_norm > limits.grad_norm)
        self._losses.add(loss)
        self._grad_norms.add(grad_norm)
        # Steps in a row that speak for a change: above a limit, or below both in a spike.
        self._in_a_row = self._in_a_row + 1 if is_above != self._is_in_spike else 0
        if self._in_a_row == 1 and limits is not None and is_above:
            self._first = Judged(step, loss, grad_norm, limits)
        if self._in_a_row < IN_A_ROW:
            return None
        self._in_a_row, self._is_in_spike = 0, is_above
        return self._first if is_above else None
