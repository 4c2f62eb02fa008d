"""Accuracy and bits per byte of a task."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.tasks.encoded import Answer, EncodedTask, RowPlan, batches


@dataclass(frozen=True)
class TaskScore:
    """How a model does on a task; NaN if it gives a number that is not finite.

    Attributes:
        name: of the task.
        accuracy: share of examples whose right choice is the likeliest; of a cloze, of those whose answer is what the
            model writes if it always takes the likeliest token.
        accuracy_norm: the same by log-likelihood per byte, or per token; None for a cloze.
        bpb: bits per byte of the right answer, the mean over examples.
        centered: (accuracy - guess) / (1 - guess), of the normalised accuracy if there is one.
        examples: how many.
        cut: choices whose context has lost its beginning.
        seconds: of scoring.
    """

    name: str
    accuracy: float
    accuracy_norm: float | None
    bpb: float
    centered: float
    examples: int
    cut: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """What the model says of each answer.

    Attributes:
        logprobs: log-likelihoods in nats.
        is_greedy: whether each token is the likeliest.
    """

    logprobs: np.ndarray
    is_greedy: np.ndarray


def score_answers(
    params: Any,
    answer_step: Callable[..., Any],
    answers: Sequence[Answer],
    plan: RowPlan,
    *,
    check_stop: Callable[[], None] = lambda: None,
    placement: Placement = ONE_DEVICE,
) -> Found:
    """Score answers.

    Args:
        answer_step: for the lengths of `plan`.
        check_stop: called before each batch; may raise to leave.
        placement: the mesh whose devices share the rows of a batch.
    """
    logprobs, greedy = np.zeros(len(answers)), np.zeros(len(answers), bool)
    for batch, rows in batches(answers, plan, placement.count):
        check_stop()
        scores = answer_step(params, placement.place_rows(batch))
        losses = np.asarray(scores.losses, np.float64).reshape(-1)
        likeliest = np.asarray(scores.likeliest).reshape(-1)
        for which, begin in rows:
            answer = answers[which]
            part = slice(begin + answer.start, begin + len(answer.ids))
            logprobs[which], greedy[which] = -losses[part].sum(), likeliest[part].all()
    return Found(logprobs, greedy)


def score_task(
    params: Any,
    answer_step: Callable[..., Any],
    task: EncodedTask,
    plan: RowPlan,
    *,
    check_stop: Callable[[], None] = lambda: None,
    placement: Placement = ONE_DEVICE,
) -> TaskScore:
    """Score a task; arguments are those of `score_answers`."""
    started = time.monotonic()
    found = score_answers(params, answer_step, task.answers, plan, check_stop=check_stop, placement=placement)
    return summary(task, found, time.monotonic() - started)


def summary(task: EncodedTask, found: Found, seconds: float) -> TaskScore:
    """Accuracies and bits per byte of the likelihoods of a task's choices."""
    if not np.isfinite(found.logprobs).all():
        return TaskScore(task.task.name, math.nan, None, math.nan, math.nan, len(task.task.examples), task.cut, seconds)
    sizes = np.asarray([answer.bytes for answer in task.answers])
    tokens = np.asarray([len(answer.ids) - answer.start for answer in task.answers])
    per = found.logprobs / (tokens if task.task.norm == "token" else sizes)
    right, right_norm, bits, begin = [], [], [], 0
    for example in task.task.examples:
        part = slice(begin, begin + len(example.choices))
        begin = part.stop
        chosen = part.start + example.label
        bits.append(-found.logprobs[chosen] / math.log(2) / sizes[chosen])
        if len(example.choices) == 1:
            right.append(bool(found.is_greedy[chosen]))
            continue
        right.append(int(found.logprobs[part].argmax()) == example.label)
        right_norm.append(int(per[part].argmax()) == example.label)
    # A task that has questions of both kinds is judged as a whole by the one number that all have.
    norm = float(np.mean(right_norm)) if len(right_norm) == len(right) else None
    accuracy = float(np.mean(right))
    guess = task.task.guess
    centered = ((accuracy if norm is None else norm) - guess) / (1 - guess)
    return TaskScore(task.task.name, accuracy, norm, float(np.mean(bits)), centered, len(right), task.cut, seconds)


def mean_of(name: str, scores: Sequence[TaskScore]) -> TaskScore:
    """The scores of several tasks as those of one, each task with the same weight."""
    norms = [one.accuracy_norm for one in scores if one.accuracy_norm is not None]
    return TaskScore(
        name=name,
        accuracy=float(np.mean([one.accuracy for one in scores])),
        accuracy_norm=float(np.mean(norms)) if len(norms) == len(scores) else None,
        bpb=float(np.mean([one.bpb for one in scores])),
        centered=float(np.mean([one.centered for one in scores])),
        examples=sum(one.examples for one in scores),
        cut=sum(one.cut for one in scores),
        seconds=sum(one.seconds for one in scores),
    )
