"""The `evaluation` section: what is scored beside the held-out text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chomp.config.fields import SET, Name, Section, setting, table


def _every(group: str) -> Any:
    return setting(
        None,
        "Steps between two scores while training; 0: only on command. null: `train.eval_every`.",
        unit="steps",
        group=group,
        unset="train.eval_every",
        ge=0,
    )


class EvaluationSet(Section):
    """Files that are scored as the held-out text is: loss, perplexity and bits per byte."""

    files: list[str] = setting(
        [], "Paths and globs as in `data.files`. The text must not be training text.", group="sets"
    )
    text_key: str | None = setting(
        None,
        "Column that holds the text, in tables; null: `data.text_key`.",
        group="sets",
        unset="data.text_key",
        min_length=1,
    )
    every: int | None = _every("sets")


class EvaluationTask(Section):
    """A multiple-choice or cloze task, or several of which the mean counts."""

    path: str | None = setting(
        None, "A file of JSON lines, or a folder of tasks; see docs/evaluation.md.", group="tasks", unset="not set"
    )
    every: int | None = _every("tasks")


class EvaluationConfig(Section):
    """Evaluation sets and tasks, scored while training beside the held-out text."""

    sets: dict[Name, EvaluationSet] = table("Evaluation sets by name.")
    tasks: dict[Name, EvaluationTask] = table("Tasks by name.")
    best: str | None = setting(
        None,
        "The set whose loss, or the task whose bits per byte, says which checkpoints `checkpoint.keep_best` keeps; "
        "null: the held-out text.",
        group="cadence",
        unset="held-out text",
        when={"checkpoint.keep_best": SET},
    )
    task_max_examples: int | None = setting(
        None,
        "Examples of each task that are scored, evenly spread over its file.",
        unit="examples",
        group="tasks",
        unset="all",
        gt=0,
    )
    task_max_tokens: int | None = setting(
        None,
        "Tokens of context and answer together; the beginning of a longer context is left out. null: `train.seq_len`.",
        unit="tokens",
        group="tasks",
        unset="auto",
        ge=8,
    )

    @property
    def named(self) -> Mapping[str, EvaluationSet | EvaluationTask]:
        """Sets, then tasks; no name is in both."""
        return {**self.sets, **self.tasks}


def cadence(evaluation: EvaluationConfig, name: str, otherwise: int) -> int:
    """Steps between two scores of a set or task; 0 never."""
    every = evaluation.named[name].every
    return otherwise if every is None else every


def ranked_every(evaluation: EvaluationConfig, eval_every: int) -> int:
    """Steps between two scores by which the best checkpoints are chosen; 0 never."""
    return eval_every if evaluation.best is None else cadence(evaluation, evaluation.best, eval_every)


_FORMS = {"evaluation.sets": "files: [{}]", "evaluation.tasks": "path: {}"}
_TEXT = re.compile(r"\[?\s*([A-Za-z][A-Za-z0-9_-]{0,31})\s*=\s*([^,\[\]{}]{1,60}?)\s*\]?")


def as_entry(table: str, value: Any) -> str:
    """How a text `NAME=VALUE`, or a list of one, is written as an entry of a table: `wiki: {files: [texts/*.txt]}`.

    Returns:
        YAML on one line; empty for another table or value.
    """
    text = value[0] if isinstance(value, list) and value else value
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if table not in _FORMS or found is None:
        return ""
    return f"{found[1]}: {{{_FORMS[table].format(found[2])}}}"
