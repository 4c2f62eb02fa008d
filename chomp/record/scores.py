"""Scores of evaluation sets and tasks, as a run's view keeps them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from chomp.record.events import SetEvaluated, TaskEvaluated
from chomp.record.formatting import decimal, is_finite, loss
from chomp.record.json_text import number

Score = SetEvaluated | TaskEvaluated
"""Of a set, or of an entry of `evaluation.tasks` as a whole."""

MOST_SCORES = 500
MISSING = "–"


def kept(scores: tuple[Score, ...]) -> tuple[Score, ...]:
    """The newest scores; the newest of a name stays as long as there is an older one of another."""
    if len(scores) <= MOST_SCORES:
        return scores
    last = {one.name: place for place, one in enumerate(scores)}
    gone = next((place for place, one in enumerate(scores) if last[one.name] != place), 0)
    return scores[:gone] + scores[gone + 1 :]


def newest(scores: Iterable[Score], near: float | None = None) -> dict[str, Score]:
    """The newest score of each name, or the one nearest to the step `near`: sets first, by name."""
    found = dict[str, Score]()
    for one in scores:
        earlier = found.get(one.name)
        if near is None or earlier is None or abs(one.step - near) <= abs(earlier.step - near):
            found[one.name] = one
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[1], TaskEvaluated), item[0])))


def of_average(score: Score) -> Score | None:
    """The same score by the moving average of the parameters, named as its line in charts; None without one."""
    name, bpb = f"{score.name} of ema", score.ema_bpb
    if isinstance(score, SetEvaluated):
        if score.ema_loss is None:
            return None
        perplexity = math.exp(min(score.ema_loss, 700.0))
        return replace(score, name=name, loss=score.ema_loss, perplexity=perplexity, bpb=bpb)
    if score.ema_accuracy is None or bpb is None:
        return None
    accuracy, norm, centered = score.ema_accuracy, score.ema_accuracy_norm, number(score.ema_centered)
    return replace(score, name=name, accuracy=accuracy, accuracy_norm=norm, bpb=bpb, centered=centered)


def seconds_by_name(scores: Iterable[Score]) -> Mapping[str, Mapping[int, float]]:
    """Seconds of scoring by name and step."""
    spent = dict[str, dict[int, float]]()
    for one in scores:
        spent.setdefault(one.name, {})[one.step] = one.seconds
    return spent


def main_number(score: Score) -> str:
    """The number that is shown where there is room for one: the loss of a set, the accuracy of a task."""
    if isinstance(score, SetEvaluated):
        return decimal(score.loss)
    return f"{score.accuracy:.1%}" if is_finite(score.accuracy) else "non-finite"


def cells(score: Score) -> list[str]:
    """Step, loss, accuracy, accuracy by length, and bits per byte for people; a dash for what the kind has not."""
    if isinstance(score, SetEvaluated):
        numbers = [loss(score.loss), MISSING, MISSING]
    else:
        shares = (score.accuracy, score.accuracy_norm)
        numbers = [MISSING, *(f"{one:.1%}" if is_finite(one) else MISSING for one in shares)]
    return [f"{score.step:,}", *numbers, decimal(score.bpb) if is_finite(score.bpb) else MISSING]
