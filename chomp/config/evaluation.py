"""The `evaluation` section: what is scored beside the held-out text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chomp.config.fields import MAX_STEPS, SET, Section, setting

# A name becomes part of a key of metrics rows and of a chart's line.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class EvaluationConfig(Section):
    """Evaluation sets and tasks, scored while training beside the held-out text; each entry is `NAME=PATH`."""

    sets: list[str] = setting(
        [],
        "Evaluation sets as NAME=PATH, with a path or glob as in `data.files`; entries of one name are one set. The "
        "text of a set must not be training text.",
        group="sets",
    )
    tasks: list[str] = setting(
        [],
        "Multiple-choice and cloze tasks as NAME=PATH: a file of JSON lines, or a folder of tasks; see "
        "docs/evaluation.md.",
        group="tasks",
    )
    every: list[str] = setting(
        [],
        "Cadences as NAME=STEPS of sets and tasks that are not scored every `train.eval_every` steps.",
        unit="steps",
        group="cadence",
    )
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


def entries(texts: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The values of `NAME=VALUE` texts by name, in order; a text without `=` has an empty name."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("", text.strip())
        found[name] = (*found.get(name, ()), value)
    return found


def cadence(evaluation: EvaluationConfig, name: str, otherwise: int) -> int:
    """Steps between two scores of a set or task; 0 never."""
    written = entries(evaluation.every).get(name)
    return otherwise if written is None else steps(written[-1]) or 0


def steps(text: str) -> int | None:
    """A cadence as it is written, such as `5_000`; None for anything but a whole number above 0."""
    if re.fullmatch(r"[0-9]+(_[0-9]+)*", text) is None:
        return None
    found = int(text[:20].replace("_", ""))
    return found if 0 < found <= MAX_STEPS else None


def ranked_every(evaluation: EvaluationConfig, eval_every: int) -> int:
    """Steps between two scores by which the best checkpoints are chosen; 0 never."""
    return eval_every if evaluation.best is None else cadence(evaluation, evaluation.best, eval_every)
