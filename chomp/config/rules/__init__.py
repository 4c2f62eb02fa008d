"""Rules between two settings: refusals and notes, one function for each subject.

A rule takes a `Config` and yields a `Problem` for each violation; a note yields a sentence
about something that is allowed and may surprise.
"""

from collections.abc import Callable, Iterator

from chomp.config.problems import Problem
from chomp.config.rules import data, doubtful, evaluation, mixture, model, notify, numbers, parallel, train
from chomp.config.schema import Config

RULES: tuple[Callable[[Config], Iterator[Problem]], ...] = (
    *numbers.RULES,
    *model.RULES,
    *data.RULES,
    *mixture.RULES,
    *train.RULES,
    *evaluation.RULES,
    *parallel.RULES,
    *notify.RULES,
)
NOTES: tuple[Callable[[Config], Iterator[str]], ...] = (
    *model.NOTES,
    *data.NOTES,
    *mixture.NOTES,
    *train.NOTES,
    *evaluation.NOTES,
    *doubtful.NOTES,
)

__all__ = ["NOTES", "RULES"]
