"""Tasks as token ids, in rows of few lengths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from chomp.data.tokenizer import Tokenizer
from chomp.errors import DataError
from chomp.step.answer_step import AnswerBatch
from chomp.tasks.task import Choice, Example, Task

HALVINGS = 2
"""Rows have the length of the longest text, its half or its quarter."""
GRANULE = 64
"""Lengths of rows are multiples of this."""

Tokens = Int32[np.ndarray, " tokens"]


@dataclass(frozen=True)
class Answer:
    """One text to score.

    Attributes:
        ids: context and continuation.
        start: position of the first token that counts.
        bytes: of the continuation, as it is written in the task.
    """

    ids: Tokens
    start: int
    bytes: int


@dataclass(frozen=True)
class EncodedTask:
    """A task's choices as token ids.

    Attributes:
        answers: of all examples, one after another.
        cut: how many of them have lost the beginning of their context.
    """

    task: Task
    answers: tuple[Answer, ...]
    cut: int


@dataclass(frozen=True)
class RowPlan:
    """How answers become batches.

    Attributes:
        lengths: of rows, the longest last.
        tokens: of a batch on one device, a multiple of each length.
        pad_id: what fills a row.
    """

    lengths: tuple[int, ...]
    tokens: int
    pad_id: int


def encode_task(task: Task, tokenizer: Tokenizer, most_tokens: int) -> EncodedTask:
    """Encode a task; of a context that is too long the beginning is left out.

    Raises:
        DataError: an answer has no room for a context, or a text cannot be encoded.
    """
    answers = []
    cut = 0
    for one in task.examples:
        for choice in one.choices:
            context, answer = encode_choice(choice, tokenizer, one)
            if len(answer) >= most_tokens:
                raise DataError(
                    f"{one.place}: an answer has {len(answer):,} tokens, and a row {most_tokens:,} with at least one "
                    f"of the context; raise evaluation.task_max_tokens, or remove the example"
                )
            room = most_tokens - len(answer)
            cut += len(context) > room
            kept = context[-room:]
            size = len(choice.continuation.encode("utf-8", "surrogatepass"))
            answers.append(Answer(np.concatenate((kept, answer)), len(kept), size))
    return EncodedTask(task, tuple(answers), cut)


def encode_choice(choice: Choice, tokenizer: Tokenizer, example: Example) -> tuple[Tokens, Tokens]:
    """The ids of context and continuation.

    Both are encoded as one text, of which the ids beyond those of the context alone are the continuation; blanks at
    the end of a context belong to the continuation. lm-evaluation-harness divides a text in the same way.

    Raises:
        DataError: nothing precedes the answer's first token, or nothing is left of the answer.
    """
    context = choice.context.rstrip()
    text = choice.context + choice.continuation
    before = tokenizer.encode_prompt(context)
    whole = tokenizer.encode_prompt(text)
    if not len(before):
        first = first_id(tokenizer)
        if first is None:
            raise DataError(
                f"{example.place}: the context is empty and the tokenizer has no begin or end id to put in its place"
            )
        before = np.asarray([first], np.int32)
        whole = np.concatenate((before, whole))
    if len(whole) <= len(before):
        raise DataError(f"{example.place}: an answer adds no token to its context; write it with a word or a sign")
    return before, whole[len(before) :]


def first_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for an empty context."""
    return tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id


def plan_rows(answers: Sequence[Answer], tokens: int, pad_id: int | None) -> RowPlan:
    """Choose the lengths of rows: a shorter one if it saves at least a batch.

    Args:
        tokens: of a training batch on one device, about as many as memory has room for.
        pad_id: of the tokenizer.
    """
    sizes = np.sort([len(answer.ids) for answer in answers])
    longest = -(-int(sizes[-1]) // GRANULE) * GRANULE
    lengths = [longest]
    for halving in range(1, HALVINGS + 1):
        shorter = -(-longest // 2**halving // GRANULE) * GRANULE
        fitting = int(np.searchsorted(sizes, shorter, side="right"))
        if shorter < lengths[0] and fitting * shorter >= tokens:
            lengths.insert(0, shorter)
    whole = int(np.lcm.reduce(lengths))
    return RowPlan(tuple(lengths), max(1, tokens // whole) * whole, pad_id if pad_id is not None else 0)


def batches(
    answers: Sequence[Answer], plan: RowPlan, devices: int = 1
) -> Iterator[tuple[AnswerBatch, list[tuple[int, int]]]]:
    """Answers in batches, and for each row that has one: its number and where the row begins.

    Args:
        devices: how many share a batch.
    """
    sizes = np.asarray([len(answer.ids) for answer in answers])
    of_length = np.searchsorted(plan.lengths, sizes)
    for number, length in enumerate(plan.lengths):
        chosen = np.flatnonzero(of_length == number)
        chosen = chosen[np.argsort(sizes[chosen], kind="stable")]
        rows = devices * plan.tokens // length
        for start in range(0, len(chosen), rows):
            yield _batch(answers, plan, chosen[start : start + rows], number, devices)


def _batch(
    answers: Sequence[Answer], plan: RowPlan, chosen: np.ndarray, number: int, devices: int
) -> tuple[AnswerBatch, list[tuple[int, int]]]:
    length = plan.lengths[number]
    ids = np.full(devices * plan.tokens, plan.pad_id, np.int32)
    is_answer = np.zeros(ids.shape, bool)
    rows = []
    for row, which in enumerate(chosen):
        answer, begin = answers[which], row * length
        end = begin + len(answer.ids)
        ids[begin:end] = answer.ids
        is_answer[begin + answer.start : end] = True
        rows.append((int(which), begin))
    shape = (devices, plan.tokens)
    batch = AnswerBatch(ids.reshape(shape), is_answer.reshape(shape), np.full(devices, number, np.int32))
    return batch, rows
