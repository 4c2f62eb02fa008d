"""Scores of evaluation sets and tasks."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from chomp.record.events import SetEvaluated, TaskEvaluated
from chomp.record.scores import Score, of_average

TASK = TaskEvaluated("arc", 70, 0.25, 0.5, 1.5, 0.0, 8, 0, 1.0, ema_accuracy=0.5, ema_accuracy_norm=0.75, ema_bpb=1.25,
                     ema_centered=0.625)  # fmt: skip
SET = SetEvaluated("wiki", 70, 2.5, 12.0, 1.5, 9, 1.0, ema_loss=2.25, ema_bpb=1.25)


@pytest.mark.parametrize("score", [TASK, SET])
def test_a_score_of_the_average_is_its_own_throughout(score: Score) -> None:
    average = of_average(score)
    assert average is not None
    assert average.name == f"{score.name} of ema"
    for field in fields(score):
        if hasattr(score, f"ema_{field.name}"):
            assert getattr(average, field.name) == getattr(score, f"ema_{field.name}"), field.name
    if isinstance(average, SetEvaluated):
        assert average.perplexity == math.exp(2.25)
