"""Rules of the `evaluation` section."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.evaluation import cadence
from chomp.config.problems import Problem
from chomp.config.schema import Config
from chomp.config.suggest import nearest


def _entries(config: Config) -> Iterator[Problem]:
    evaluation = config.evaluation
    for name, one in evaluation.sets.items():
        if not one.files or not all(pattern.strip() for pattern in one.files):
            yield Problem(
                f"evaluation.sets.{name}.files",
                "names no file, or an empty path; write a list of paths or globs, such as [texts/*.txt]",
                also=(f"evaluation.sets.{name}",),
            )
    for name, task in evaluation.tasks.items():
        if not (task.path or "").strip():
            yield Problem(
                f"evaluation.tasks.{name}.path",
                "names no file; write the path of a file of JSON lines, or of a folder of tasks",
                also=(f"evaluation.tasks.{name}",),
            )
        if name in evaluation.sets:
            yield Problem(
                f"evaluation.tasks.{name}",
                "there is a set of this name, too; give them different names",
                also=(f"evaluation.sets.{name}",),
            )


def _best(config: Config) -> Iterator[Problem]:
    evaluation, best = config.evaluation, config.evaluation.best
    if best is None:
        return
    known = tuple(evaluation.named)
    if best not in known:
        near = nearest(best, known, cutoff=0.5)
        hint = f"; did you mean {near}?" if near else f"; known are {', '.join(known) or 'none'}"
        yield Problem("evaluation.best", f"{best!r} is neither in evaluation.sets nor in evaluation.tasks{hint}")
    elif not cadence(evaluation, best, config.train.eval_every):
        section = f"evaluation.{'sets' if best in evaluation.sets else 'tasks'}.{best}"
        yield Problem(
            "evaluation.best",
            f"{best} is never scored: {_reason(config, best)}; write {section}.every above 0",
            also=(f"{section}.every", "train.eval_every"),
        )
    if not config.checkpoint.keep_best:
        yield Problem(
            "evaluation.best",
            "needs checkpoint.keep_best above 0; without it no checkpoint is kept for its evaluation",
            also=("checkpoint.keep_best",),
        )


def _reason(config: Config, name: str) -> str:
    return "train.eval_every is 0" if config.evaluation.named[name].every is None else "its `every` is 0"


def _unscored_note(config: Config) -> Iterator[str]:
    for name, one in config.evaluation.named.items():
        if one.every is None and not config.train.eval_every:
            yield (
                f"evaluation: {name} is never scored while training: train.eval_every is 0; set it, or the `every` "
                f"of {name}"
            )


RULES = (_entries, _best)
NOTES = (_unscored_note,)
