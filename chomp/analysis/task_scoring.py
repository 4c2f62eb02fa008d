"""Scores the parameters of a finished run on tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chomp.config.load import parse_resolved
from chomp.errors import ConfigError
from chomp.generate.load import TrainedModel
from chomp.step.answer_step import make_answer_step
from chomp.tasks.entries import EntryScore, open_entries, rows_of, score_entry, task_paths
from chomp.tasks.read import named


def score_tasks(trained: TrainedModel, tasks: Sequence[str], overrides: Sequence[str] = ()) -> Iterator[EntryScore]:
    """The scores of each entry, as soon as it is scored; all are read before the first is.

    Args:
        tasks: `[NAME=]PATH` texts; none for those of the run's configuration.
        overrides: `KEY=VALUE` texts for that configuration.

    Raises:
        ConfigError: there are no tasks, or two of one name.
        DataError: a task cannot be read or used.
    """
    loaded = parse_resolved(trained.config.model_dump(), source=str(trained.info.path), overrides=overrides)
    evaluation, train = loaded.config.evaluation, loaded.config.train
    paths = [named(text) for text in tasks] or task_paths(evaluation)
    if not paths:
        raise ConfigError("the run's configuration has no evaluation.tasks; name some with --tasks [NAME=]PATH")
    names = [name for name, _ in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--tasks names two tasks {twice!r}; give them different names: --tasks NAME=PATH")
    found = open_entries(paths, evaluation, train.seq_len, trained.tokenizer)
    rows = rows_of(found, train.batch_size, train.seq_len, trained.tokenizer)
    assert rows is not None
    step = make_answer_step(trained.model_def, rows.lengths)
    for entry in found:
        yield score_entry(trained.params, step, entry, rows)
