"""What a run scores beside its held-out text: evaluation sets and tasks, opened once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chomp.config import Config
from chomp.config.evaluation import cadence
from chomp.data.evaluation_sets import EvaluationSet, Training, open_sets
from chomp.data.pipeline import DataPipeline
from chomp.data.tokenizers import Tokenizer
from chomp.step.answer_step import make_answer_step
from chomp.tasks.encoded import RowPlan
from chomp.tasks.entries import TaskEntry, open_entries, rows_of, task_paths
from chomp.train.blueprint import Blueprint


@dataclass(frozen=True)
class Evaluations:
    """The sets and tasks of a configuration.

    Attributes:
        rows: how tasks become rows; None without tasks.
        apart: a digest of the comparison of the sets with the training text, for checkpoints; None without sets.
    """

    blueprint: Blueprint
    sets: tuple[EvaluationSet, ...]
    tasks: tuple[TaskEntry, ...]
    rows: RowPlan | None
    apart: str | None

    @cached_property
    def answer_step(self) -> Callable[..., Any]:
        """The program that scores tasks."""
        assert self.rows is not None
        return make_answer_step(self.blueprint.model_def, self.rows.lengths, placement=self.blueprint.placement)

    def every(self, name: str) -> int:
        """Steps between two scores of a set or task."""
        config = self.blueprint.config
        return cadence(config.evaluation, name, config.train.eval_every)

    @property
    def names(self) -> tuple[str, ...]:
        """Sets, then tasks."""
        return (*(one.name for one in self.sets), *(one.name for one in self.tasks))

    def facts(self) -> dict[str, Any]:
        """What all processes of a run have in common."""
        answers = [answer for entry in self.tasks for task in entry.tasks for answer in task.answers]
        return {
            "sets": {one.name: one.digest for one in self.sets},
            "tasks": {"answers": len(answers), "tokens": sum(int(answer.ids.sum()) for answer in answers)},
        }


def open_evaluations(
    blueprint: Blueprint, tokenizer: Tokenizer, data: DataPipeline, compared: Collection[str] = ()
) -> Evaluations:
    """Open all sets and tasks of a configuration.

    Args:
        compared: `apart` of earlier starts: the same sets are not compared with the same training text again.

    Raises:
        DataError: one cannot be read or used, or a set holds training text.
    """
    config: Config = blueprint.config
    train = config.train
    tasks = open_entries(task_paths(config.evaluation), config.evaluation, train.seq_len, tokenizer)
    rows = rows_of(tasks, train.batch_size, train.seq_len, tokenizer)
    training = Training(data.training_texts(), _digest(config, tokenizer, data), compared)
    sets = open_sets(config, data.text_plan, training)
    return Evaluations(blueprint, sets, tasks, rows, training.comparison(sets) if sets else None)


def _digest(config: Config, tokenizer: Tokenizer, data: DataPipeline) -> str:
    """Of the training text: the files, what is read of them, and for token files the tokenizer of the sets."""
    said = [data.fingerprint, config.data.model_dump(), tokenizer.digest()]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def training_text(config: Config, tokenizer: Tokenizer, data: DataPipeline, compared: Collection[str] = ()) -> Training:
    """What evaluation sets are compared with; `compared` as for `open_evaluations`."""
    return Training(data.training_texts(), _digest(config, tokenizer, data), compared)
