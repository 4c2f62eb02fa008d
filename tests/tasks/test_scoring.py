"""Scores of tasks are those of each text alone, in double precision, whatever rows and batches they share."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizer import Tokenizer
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import DataError
from chomp.model.build import ModelDef, build_model
from chomp.step.answer_step import make_answer_step
from chomp.tasks.encoded import Answer, EncodedTask, RowPlan, encode_task, plan_rows
from chomp.tasks.scoring import Found, mean_of, score_answers, summary
from chomp.tasks.task import Choice, Example, Task
from chomp.train.compilation import CompileWatch
from tests.model import tiny


def bytes_of(**settings: Any) -> Tokenizer:
    return build_tokenizer(TokenizerConfig.model_validate(settings))


def example(context: str, *answers: str, label: int = 0) -> Example:
    return Example(tuple(Choice(context, answer) for answer in answers), label, "task.jsonl:1")


def task_of(*examples: Example, **fields: Any) -> Task:
    return Task("mine", examples, **fields)


def encode(task: Task, most: int = 512, **settings: Any) -> EncodedTask:
    return encode_task(task, bytes_of(**settings), most)


def mixed() -> Task:
    """Texts from a few to some hundred tokens."""
    rng = np.random.default_rng(0)
    examples = []
    for number, length in enumerate((4, 9, 30, 31, 60, 70, 100, 120, 130, 200, 220, 240)):
        words = "".join(rng.choice(list("abcd "), length)).strip()
        answers = ["".join(rng.choice(list("abcd"), 1 + size)) for size in rng.integers(0, 12, 4)]
        examples.append(example(words or "a", *(f" {answer}" for answer in answers), label=number % 4))
    return task_of(*examples)


def by_hand(model_def: ModelDef, params: Any, answer: Answer) -> tuple[float, bool]:
    """The log-likelihood of an answer in a row of its own without padding, and whether greedy decoding writes it."""
    logits = np.asarray(tiny.logits_of(model_def.combine(params), jnp.asarray(answer.ids[None])), np.float64)[0]
    shares = logits - logits.max(-1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(-1, keepdims=True))
    places = np.arange(answer.start, len(answer.ids))
    return float(shares[places - 1, answer.ids[places]].sum()), bool(
        (shares[places - 1].argmax(-1) == answer.ids[places]).all()
    )


@pytest.mark.parametrize("backend", ["llama", "megalodon"])
def test_scores_are_those_of_each_text_alone(backend: str) -> None:
    model_def = build_model(tiny.model_config(backend, vocab_size=128, loss_chunk_size=100))
    params = model_def.init(jax.random.key(3))
    task = encode(mixed())
    # Enough of them are short for rows of every length, and the last batches are not full.
    plan = plan_rows(task.answers, 256, 0)
    assert plan == RowPlan((64, 128, 256), 256, 0)
    step = make_answer_step(model_def, plan.lengths)
    watch = CompileWatch()
    found = score_answers(params, step, task.answers, plan)
    compiled = watch.compiled
    watch.close()
    # Lengths alone: rows of other lengths are in the same program.
    assert compiled == 1
    lengths = sorted({len(answer.ids) for answer in task.answers})
    chosen = [number for number, answer in enumerate(task.answers) if len(answer.ids) in lengths[::9]]
    assert len(chosen) >= 4
    for number in chosen:
        logprob, is_greedy = by_hand(model_def, params, task.answers[number])
        assert found.logprobs[number] == pytest.approx(logprob, rel=2e-5)
        assert found.is_greedy[number] == is_greedy
    # Another plan gives the same numbers.
    alone = RowPlan((256,), 512, 7)
    other = score_answers(params, make_answer_step(model_def, alone.lengths), task.answers, alone)
    np.testing.assert_allclose(other.logprobs, found.logprobs, rtol=2e-5)


def test_accuracies_and_bits_are_those_of_the_definitions() -> None:
    task = encode(task_of(example("q", " a", " bb", label=1), example("q", " a", " bbbbbbb", label=0)))
    # Of " a" and " bb": 2 and 3 bytes; of " bbbbbbb": 8.
    found = Found(np.array([-2.0, -2.5, -1.0, -3.0]), np.zeros(4, bool))
    score = summary(task, found, 1.0)
    # By likelihood the first is wrong; by likelihood per byte, -1 and -0.83, -0.5 and -0.375, the second is.
    assert (score.accuracy, score.accuracy_norm) == (0.5, 0.5)
    assert score.bpb == pytest.approx((2.5 / 3 + 1.0 / 2) / 2 / math.log(2))
    assert (score.examples, score.centered) == (2, 0.0)
    cloze = encode(task_of(example("q", " a"), example("q", " é")))
    score = summary(cloze, Found(np.array([-1.0, -1.5]), np.array([True, False])), 1.0)
    assert (score.accuracy, score.accuracy_norm, score.centered) == (0.5, None, 0.5)
    assert score.bpb == pytest.approx((1.0 / 2 + 1.5 / 3) / 2 / math.log(2))
    broken = summary(cloze, Found(np.array([-1.0, math.nan]), np.array([True, True])), 1.0)
    assert math.isnan(broken.accuracy)
    assert math.isnan(broken.bpb)
    whole = mean_of("all", [score, score])
    assert (whole.name, whole.accuracy, whole.examples, whole.accuracy_norm) == ("all", 0.5, 4, None)


def test_a_context_is_cut_and_an_answer_is_not() -> None:
    task = encode(task_of(example("0123456789", " ab")), most=8)
    assert (task.cut, task.answers[0].start) == (1, 5)
    assert bytes(list(task.answers[0].ids - 3)) == b"56789 ab"
    with pytest.raises(DataError, match=r"task.jsonl:1: an answer has 8 tokens, and a row 8 with at least one of the"):
        encode(task_of(example("0", " abcdefg")), most=8)


def test_blanks_between_context_and_answer_belong_to_the_answer() -> None:
    answer = encode(task_of(example("one \n", "two"))).answers[0]
    assert (bytes(list(answer.ids - 3)), answer.start, answer.bytes) == (b"one \ntwo", 3, 3)


@pytest.mark.parametrize(("settings", "first"), [({"add_bos": True}, 1), ({}, 1)])
def test_an_empty_context_is_the_begin_id(settings: dict[str, Any], first: int) -> None:
    answer = encode(task_of(example("", "ab")), **settings).answers[0]
    assert (answer.ids.tolist(), answer.start) == ([first, 100, 101], 1)


def test_an_empty_context_needs_an_id() -> None:
    with pytest.raises(DataError, match="the context is empty and the tokenizer has no begin or end id"):
        encode(task_of(example("", "ab")), byte_offset=0, add_eos=False)


def test_an_answer_of_blanks_after_blanks_counts() -> None:
    assert encode(task_of(example("a ", " "))).answers[0].start == 1
