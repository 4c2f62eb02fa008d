"""What a task is, whatever file it comes from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choice:
    """One possible answer: a continuation of a context."""

    context: str
    continuation: str


@dataclass(frozen=True)
class Example:
    """One question.

    Attributes:
        choices: possible answers; a single one is a cloze, which the model writes or does not write.
        label: the number of the right one.
        place: file and line, for messages.
    """

    choices: tuple[Choice, ...]
    label: int
    place: str


@dataclass(frozen=True)
class Task:
    """Examples that are scored together.

    Attributes:
        name: `NAME`, or `NAME/PART` if it is one of several of an entry.
        examples: at least one.
        chance: the accuracy of a guess; None: that of one among the choices of each example.
        norm: what the log-likelihood is divided by for the normalised accuracy.
    """

    name: str
    examples: tuple[Example, ...]
    chance: float | None = None
    norm: Literal["byte", "token"] = "byte"

    @property
    def guess(self) -> float:
        """The accuracy of a guess; a cloze is not guessed."""
        if self.chance is not None:
            return self.chance
        shares = [1 / len(one.choices) if len(one.choices) > 1 else 0.0 for one in self.examples]
        return sum(shares) / len(shares)
