"""What is wrong with a configuration: each problem with its place, all of them in one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chomp.errors import ConfigError

# A file with more is damaged as a whole.
MOST_SHOWN = 40


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: dotted key, `train.steps`; empty when the whole file is meant.
        message: what is wrong, what is allowed, what to do; one sentence without the path.
        where: `file:line`, `file:line:column` or `-o KEY=VALUE`; empty when unknown.
        line: line in the file, from 1; None for overrides and for problems of the whole file.
        also: other keys that take part, for a form that marks fields.
    """

    path: str
    message: str
    where: str = ""
    line: int | None = None
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.where, self.path, self.message) if part)
        # Keys and overrides are the user's; what a terminal would obey is shown escaped.
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class InvalidConfig(ConfigError):
    """A configuration that cannot be used, with every problem found in it.

    Attributes:
        problems: at least one, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        rest = [f"and {count - MOST_SHOWN} more"] if count > MOST_SHOWN else []
        super().__init__(lines[0] if count == 1 else "\n  ".join([f"{count} problems", *lines, *rest]))
