"""Rules of the `evaluation` section."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.evaluation import NAME, cadence, entries, steps
from chomp.config.problems import Problem
from chomp.config.schema import Config
from chomp.config.suggest import nearest


def _names(config: Config) -> Iterator[Problem]:
    evaluation = config.evaluation
    sets, tasks = entries(evaluation.sets), entries(evaluation.tasks)
    for key, found in (("sets", sets), ("tasks", tasks)):
        for name, values in found.items():
            if not NAME.fullmatch(name) or not all(values):
                text = values[0] if not name else f"{name}={values[0]}"
                yield Problem(
                    f"evaluation.{key}",
                    f"expected NAME=PATH, where NAME has up to 40 letters, digits, dots, dashes and underscores, got "
                    f"{text!r}",
                )
    for name, values in tasks.items():
        if len(values) > 1:
            yield Problem("evaluation.tasks", f"names two tasks {name!r}; give them different names")
        if name in sets:
            yield Problem(
                "evaluation.tasks", f"{name!r} is also a set; give them different names", also=("evaluation.sets",)
            )


def _cadences(config: Config) -> Iterator[Problem]:
    evaluation = config.evaluation
    known = (*entries(evaluation.sets), *entries(evaluation.tasks))
    for name, values in entries(evaluation.every).items():
        if name not in known:
            yield Problem("evaluation.every", f"{name!r} {_unknown(name, known)}", also=("evaluation.sets",))
        elif steps(values[-1]) is None:
            yield Problem(
                "evaluation.every", f"expected NAME=STEPS with a whole number above 0, got {name}={values[-1]}"
            )


def _best(config: Config) -> Iterator[Problem]:
    evaluation, best = config.evaluation, config.evaluation.best
    if best is None:
        return
    known = (*entries(evaluation.sets), *entries(evaluation.tasks))
    if best not in known:
        yield Problem("evaluation.best", f"{best!r} {_unknown(best, known)}", also=("evaluation.sets",))
    elif not cadence(evaluation, best, config.train.eval_every):
        yield Problem(
            "evaluation.best",
            f"{best} is never scored: train.eval_every is 0; set it, or evaluation.every: [{best}=STEPS]",
            also=("train.eval_every",),
        )
    if not config.checkpoint.keep_best:
        yield Problem(
            "evaluation.best",
            "needs checkpoint.keep_best above 0; without it no checkpoint is kept for its evaluation",
            also=("checkpoint.keep_best",),
        )


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = nearest(name, known, cutoff=0.5)
    hint = f"; did you mean {near}?" if near else ""
    return f"is neither in evaluation.sets nor in evaluation.tasks{hint}"


def _unscored_note(config: Config) -> Iterator[str]:
    evaluation = config.evaluation
    for name in (*entries(evaluation.sets), *entries(evaluation.tasks)):
        if not cadence(evaluation, name, config.train.eval_every):
            yield (
                f"evaluation: {name} is never scored while training: train.eval_every is 0; set it, or "
                f"evaluation.every: [{name}=STEPS]"
            )


RULES = (_names, _cadences, _best)
NOTES = (_unscored_note,)
