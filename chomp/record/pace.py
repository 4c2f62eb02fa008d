"""What is done between steps takes time too: how much of it falls on each step to come."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Set

from chomp.record.events import Acknowledged


def overhead_seconds_per_step(
    evaluated: Mapping[int, float],
    sampled: Mapping[int, float],
    saved: Mapping[int, float],
    answers: Iterable[Acknowledged],
) -> float:
    """Seconds of evaluation, sampling and saving that fall on a step.

    What somebody asked for is left out: it was done once, and comes at no usual distance.

    Args:
        evaluated, sampled, saved: seconds by the step after which they were spent.
        answers: to the commands of the run.
    """
    asked: dict[str, set[int]] = {"eval": set(), "sample": set(), "save": set()}
    for answer in answers:
        if answer.ok and answer.command in asked:
            asked[answer.command].add(answer.step)
    return (
        _per_step(evaluated, asked["eval"])
        # A checkpoint that was asked for may be given samples first.
        + _per_step(sampled, asked["sample"] | asked["save"])
        + _per_step(saved, asked["save"])
    )


def _per_step(spent: Mapping[int, float], asked: Set[int]) -> float:
    """Seconds per step of something that is done now and then; the first time, which may compile, hardly counts."""
    steps = [step for step in sorted(spent) if step not in asked and math.isfinite(spent[step]) and spent[step] >= 0]
    if not steps:
        return 0.0
    gaps = [after - before for before, after in itertools.pairwise(steps)] or steps
    return statistics.median(spent[step] for step in steps[1:] or steps) / max(statistics.median(gaps), 1.0)
