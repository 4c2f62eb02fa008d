"""Whether the files of evaluation sets and tasks can be used, found out before a run."""

from __future__ import annotations

import functools

from chomp.config import Config
from chomp.data.evaluation_sets import check_set
from chomp.data.remembered import once
from chomp.data.tokenizer import Tokenizer
from chomp.tasks.entries import open_entries, task_paths
from chomp.tasks.read import files_of, read_tasks


def read_evaluations(config: Config, tokenizer: Tokenizer | None) -> None:
    """Read evaluation sets and tasks, unless that was done before and their files are what they were.

    Whether a set is training text is another question.

    Args:
        tokenizer: of the tasks' texts; None leaves out whether their answers fit into a row.

    Raises:
        DataError: one is missing, not of a known layout, or cannot be encoded.
    """
    evaluation, seq_len = config.evaluation, config.train.seq_len
    for name in evaluation.sets:
        check_set(config, name)
    for name, path in task_paths(evaluation):
        question = ["task", name, path, str(evaluation.task_max_examples)]
        if tokenizer is None:
            once(question, files_of(path), functools.partial(read_tasks, name, path))
            continue
        encoding = [tokenizer.digest(), str(evaluation.task_max_tokens or seq_len)]
        look = functools.partial(open_entries, [(name, path)], evaluation, seq_len, tokenizer)
        once([*question, *encoding], files_of(path), look)
