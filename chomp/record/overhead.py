"""Time between steps: evaluation, sampling and saving as seconds per step, for estimates."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType

from chomp.record.events import Acknowledged


def overhead_seconds_per_step(
    evaluated: Mapping[int, float],
    sampled: Mapping[int, float],
    saved: Mapping[int, float],
    answers: Iterable[Acknowledged],
    scored: Mapping[str, Mapping[int, float]] = MappingProxyType({}),
) -> float:
    """Seconds of evaluation, sampling and saving that fall on a step.

    Jobs that the user commanded are left out: they follow no cadence.

    Args:
        evaluated, sampled, saved: seconds by the step after which they were spent.
        answers: to the commands of the run.
        scored: seconds of evaluation sets and tasks by name and step; each has its own cadence.
    """
    commanded: dict[str, set[int]] = {"eval": set(), "sample": set(), "save": set()}
    for answer in answers:
        if answer.ok and answer.command in commanded:
            commanded[answer.command].add(answer.step)
    return (
        _per_step(evaluated, commanded["eval"])
        + sum(_per_step(spent, commanded["eval"]) for spent in scored.values())
        # A commanded save may write samples first.
        + _per_step(sampled, commanded["sample"] | commanded["save"])
        + _per_step(saved, commanded["save"])
    )


def _per_step(spent: Mapping[int, float], commanded: Set[int]) -> float:
    """Seconds per step of a periodic job; the first time, which may compile, is left out."""
    steps = [step for step in sorted(spent.keys() - commanded) if math.isfinite(spent[step]) and spent[step] >= 0]
    if not steps:
        return 0.0
    gaps = [after - before for before, after in itertools.pairwise(steps)] or steps
    return statistics.median(spent[step] for step in steps[1:] or steps) / max(statistics.median(gaps), 1.0)
