"""What a run scores: its held-out text, evaluation sets and tasks, opened once, and what tells their texts apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chomp.config import Config
from chomp.config.evaluation import cadence
from chomp.data.evaluation_sets import EvaluationSet, Training, open_sets
from chomp.data.overlap import Named
from chomp.data.pipeline import DataPipeline
from chomp.data.tokenizers import Tokenizer
from chomp.record.manifest import HELD_OUT, texts_of
from chomp.step.answer_step import make_answer_step
from chomp.tasks.encoded import RowPlan
from chomp.tasks.entries import TaskEntry, open_entries, rows_of, task_paths
from chomp.train.blueprint import Blueprint


@dataclass(frozen=True)
class Evaluations:
    """The sets and tasks of a configuration.

    Attributes:
        rows: how tasks become rows; None without tasks.
        apart: a digest of the comparison of the sets and of `data.eval_files` with the training text, for checkpoints;
            None without these.
        texts: a digest of what is scored by name, `HELD_OUT` for the held-out text. Scores of different text are not
            compared.
    """

    blueprint: Blueprint
    sets: tuple[EvaluationSet, ...]
    tasks: tuple[TaskEntry, ...]
    rows: RowPlan | None
    apart: str | None
    texts: Mapping[str, str]

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
        return {f"text of {_named(name, self.tasks)}": digest for name, digest in self.texts.items()}

    def changed_since(self, meta: Mapping[str, Any], step: int) -> list[str]:
        """A sentence for each text that is another one than at a checkpoint, of which the scores are not comparable.

        Args:
            meta: the checkpoint's; older versions did not describe their texts.
            step: the checkpoint's.
        """
        before, best = texts_of(meta), self.blueprint.config.evaluation.best or HELD_OUT
        begins = f"; the best checkpoints are chosen among those after step {step:,}"
        return [
            f"the content of {_named(name, self.tasks)} has changed: scores after step {step:,} are of other text than "
            f"those before{begins if name == best and self.blueprint.config.checkpoint.keep_best else ''}"
            for name, digest in self.texts.items()
            if before.get(name, digest) != digest
        ]


def _named(name: str, tasks: Iterable[TaskEntry]) -> str:
    if name == HELD_OUT:
        return "the held-out text"
    return f"the {'task' if any(entry.name == name for entry in tasks) else 'evaluation set'} {name}"


def open_evaluations(
    blueprint: Blueprint, tokenizer: Tokenizer, data: DataPipeline, compared: Collection[str] = ()
) -> Evaluations:
    """Open all sets and tasks of a configuration.

    Args:
        compared: `apart` of earlier starts: the same sets are not compared with the same training text again.

    Raises:
        DataError: one cannot be read or used, or a set or the text of `data.eval_files` holds training text.
    """
    config: Config = blueprint.config
    train = config.train
    tasks = open_entries(task_paths(config.evaluation), config.evaluation, train.seq_len, tokenizer)
    rows = rows_of(tasks, train.batch_size, train.seq_len, tokenizer)
    training = training_text(config, tokenizer, data, compared)
    sets = open_sets(config, data.text_plan, training)
    texts = {
        HELD_OUT: _digest_of(text.encode("utf-8", "surrogatepass") for text in data.iter_heldout_texts()),
        **{one.name: one.digest for one in sets},
        **{entry.name: _digest_of(_task_parts(entry)) for entry in tasks},
    }
    apart = training.comparison(sets) if sets or training.held_out else None
    return Evaluations(blueprint, sets, tasks, rows, apart, texts)


def _named_text(config: Config, data: DataPipeline) -> list[Named]:
    """The held-out text by the setting that names it; nothing where it is a part of a source."""
    name = "data.eval_files" if config.data.eval_files else "data.eval_text" if config.data.eval_text else ""
    return [(name, data.heldout_texts())] if name else []


def _task_parts(entry: TaskEntry) -> Iterator[bytes]:
    """All that the scores of an entry depend on."""
    for encoded in entry.tasks:
        task = encoded.task
        labels = [(len(one.choices), one.label) for one in task.examples]
        yield json.dumps([task.name, task.chance, task.norm, labels]).encode()
        for answer in encoded.answers:
            yield json.dumps([answer.start, answer.bytes]).encode() + answer.ids.tobytes()


def _digest_of(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _digest(config: Config, tokenizer: Tokenizer, data: DataPipeline) -> str:
    """Of the training text: the files, what is read of them, and for token files the tokenizer of the sets."""
    said = [data.fingerprint, config.data.model_dump(), tokenizer.digest()]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def training_text(config: Config, tokenizer: Tokenizer, data: DataPipeline, compared: Collection[str] = ()) -> Training:
    """What evaluation sets are compared with; `compared` as for `open_evaluations`."""
    return Training(data.training_texts(), _digest(config, tokenizer, data), compared, _named_text(config, data))
