"""Entries of `evaluation.tasks`: each is a task, or several of which the mean counts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chomp.config.evaluation import EvaluationConfig
from chomp.data.tokenizer import Tokenizer
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.tasks.encoded import EncodedTask, RowPlan, encode_task, plan_rows
from chomp.tasks.read import read_tasks
from chomp.tasks.scoring import TaskScore, mean_of, score_task


@dataclass(frozen=True)
class TaskEntry:
    """Tasks under one name."""

    name: str
    tasks: tuple[EncodedTask, ...]


@dataclass(frozen=True)
class EntryScore:
    """The scores of an entry: of all of it, and of its parts if it has several."""

    whole: TaskScore
    parts: tuple[TaskScore, ...]


def task_paths(evaluation: EvaluationConfig) -> list[tuple[str, str]]:
    """Name and path of each entry of a checked configuration."""
    return [(name, task.path or "") for name, task in evaluation.tasks.items()]


def open_entries(
    paths: Iterable[tuple[str, str]], evaluation: EvaluationConfig, seq_len: int, tokenizer: Tokenizer
) -> tuple[TaskEntry, ...]:
    """Read and encode tasks.

    Args:
        paths: name and path of each entry.
        seq_len: `train.seq_len`.

    Raises:
        DataError: a file cannot be read, or an answer is too long for a row.
    """
    most = evaluation.task_max_tokens or seq_len
    found = ((name, read_tasks(name, path, evaluation.task_max_examples)) for name, path in paths)
    return tuple(TaskEntry(name, tuple(encode_task(task, tokenizer, most) for task in tasks)) for name, tasks in found)


def rows_of(entries: Sequence[TaskEntry], batch_size: int, seq_len: int, tokenizer: Tokenizer) -> RowPlan | None:
    """How the tasks of all entries become rows, as many tokens at once as a training batch has; None without tasks."""
    answers = [answer for entry in entries for task in entry.tasks for answer in task.answers]
    return plan_rows(answers, batch_size * seq_len, tokenizer.pad_id) if answers else None


def score_entry(
    params: Any,
    answer_step: Callable[..., Any],
    entry: TaskEntry,
    plan: RowPlan,
    *,
    check_stop: Callable[[], None] = lambda: None,
    placement: Placement = ONE_DEVICE,
) -> EntryScore:
    """Score an entry; arguments are those of `score_task`."""
    scores = [
        score_task(params, answer_step, task, plan, check_stop=check_stop, placement=placement) for task in entry.tasks
    ]
    if len(scores) == 1:
        return EntryScore(scores[0], ())
    return EntryScore(mean_of(entry.name, scores), tuple(scores))
