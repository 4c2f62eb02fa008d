"""What a sweep has found: its trials from best to worst, its settings one by one, and how much each setting matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from chomp.queue.folder import QueueFolder
from chomp.record.formatting import one_line, plural
from chomp.sweep.folder import SweepFolder, Trial
from chomp.sweep.importance import LEAST_TRIALS
from chomp.sweep.spec import SweepSpec, Value

_PLACES = {"complete": 0, "running": 1, "pruned": 2, "waiting": 3, "asked": 3, "failed": 4}
# Of the numbers of a range, so many groups are compared.
GROUPS = 4


@dataclass(frozen=True)
class Group:
    """Trials that agree in one setting: a value, or numbers between two.

    Attributes:
        trials: how many have a score.
    """

    label: str
    trials: int
    best: float
    middle: float


@dataclass(frozen=True)
class SweepReport:
    """A sweep at one time.

    Attributes:
        ranking: complete trials by score, running ones, pruned ones by how far they came, waiting and failed ones.
        groups: by setting, its values with the scores of their trials.
        prefix: what became of the part that the sweep trains before its trials; None where there is none.
        importance: by setting, between 0 and 1.
        importance_note: how it is computed, or why it is not.
    """

    name: str
    spec: SweepSpec
    is_stopped: bool
    ranking: tuple[Trial, ...]
    groups: dict[str, tuple[Group, ...]]
    importance: dict[str, float]
    importance_note: str
    prefix: Trial | None = None

    @property
    def state(self) -> str:
        """`running`, `stopped`, `done`, or `failed` without the prefix of the trials."""
        if self.prefix is not None and self.prefix.state == "failed" and not self.ranking:
            return "failed"
        if len(self.ranking) == self.spec.count and all(trial.is_finished for trial in self.ranking):
            return "done"
        return "stopped" if self.is_stopped else "running"

    @property
    def headline(self) -> str:
        """Its state and counts in a line."""
        counts = {state: sum(trial.state == state for trial in self.ranking) for state in _PLACES}
        said = [f"{number} {state}" for state, number in counts.items() if number and state != "asked"]
        if self.prefix is not None and not self.ranking:
            said = [f"prefix {self.prefix.state} at step {self.prefix.step:,}; no trial yet"]
        return f"{self.state}: {', '.join(said) or 'no trial yet'} of {self.spec.count}"


def read_report(folder: SweepFolder) -> SweepReport:
    """The report of a sweep.

    Raises:
        ConfigError: its files are damaged.
    """
    spec, trials = folder.spec(), folder.read()
    importance, note = folder.read_importance()
    complete = sum(trial.state == "complete" for trial in trials)
    return SweepReport(
        name=folder.name,
        spec=spec,
        is_stopped=folder.stopped.exists(),
        ranking=tuple(sorted(trials, key=_rank)),
        groups={key: _groups(key, trials) for key in spec.space},
        importance=importance,
        prefix=folder.read_prefix(),
        importance_note=note or f"not computed: it needs {LEAST_TRIALS} complete trials, and there are {complete}",
    )


def _rank(trial: Trial) -> tuple[int, float, float, int]:
    score = trial.score if trial.score is not None else math.inf
    # Losses of pruned trials are not at equal tokens: the one that came further was better for longer.
    came = -trial.step if trial.state == "pruned" else 0
    return _PLACES[trial.state], came, score, trial.number


def _groups(key: str, trials: Sequence[Trial]) -> tuple[Group, ...]:
    """The complete trials by the values of one setting; many different numbers are put into a few groups."""
    scored = [
        (trial.values[key], trial.score) for trial in trials if trial.state == "complete" and trial.score is not None
    ]
    values = sorted({value for value, _ in scored}, key=lambda value: (str(type(value)), value))
    if len(values) <= 2 * GROUPS or not all(_is_number(value) for value in values):
        parts = [[value] for value in values]
    else:
        size = math.ceil(len(values) / GROUPS)
        parts = [values[place : place + size] for place in range(0, len(values), size)]
    found = []
    for part in parts:
        scores = [score for value, score in scored if value in part]
        label = value_text(part[0]) if len(part) == 1 else f"{value_text(part[0])} to {value_text(part[-1])}"
        found.append(Group(label, len(scores), min(scores), median(scores)))
    return tuple(found)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_text(value: Value) -> str:
    """A value of a setting for people."""
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value)) if value is not None else "null"


def as_dict(report: SweepReport, queue: QueueFolder) -> dict[str, Any]:
    """The report as `--json` prints it."""
    return {
        "name": report.name,
        "state": report.state,
        "method": report.spec.method,
        "metric": report.spec.metric,
        "trials": report.spec.count,
        "prefix": _as_dict(report.prefix, queue) if report.prefix is not None else None,
        "ranking": [_as_dict(trial, queue) for trial in report.ranking],
        "settings": {
            key: [{"value": one.label, "trials": one.trials, "best": one.best, "median": one.middle} for one in groups]
            for key, groups in report.groups.items()
        },
        "importance": report.importance,
        "importance_note": report.importance_note,
    }


def _as_dict(trial: Trial, queue: QueueFolder) -> dict[str, Any]:
    run = str(queue.resolve(trial.run_dir)) if trial.run_dir is not None else None
    return {**trial.model_dump(exclude={"run_dir", "optuna"}), "run": run}


def prefix_line(prefix: Trial) -> str:
    """What became of the prefix, in a line."""
    job = f" · job {prefix.job}" if prefix.job is not None else ""
    why = f" · {one_line(prefix.reason)}" if prefix.reason else ""
    return f"prefix {prefix.state} at step {prefix.step:,}{job}{why}"


def report_lines(report: SweepReport) -> list[str]:
    """The report as text."""
    keys = list(report.spec.space)
    rows = [("trial", report.spec.metric, "step", "state", *(key.rpartition(".")[2] for key in keys))]
    for trial in report.ranking:
        score = f"{trial.score:.4f}" if trial.score is not None else "—"
        values = (value_text(trial.values.get(key)) for key in keys)
        rows.append((str(trial.number), score, f"{trial.step:,}", trial.state, *values))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{one_line(report.name)}  {report.headline}", ""]
    lines += [prefix_line(report.prefix), ""] if report.prefix is not None else []
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for key, groups in report.groups.items():
        lines += ["", f"{key}: best and median {report.spec.metric} of complete trials"]
        width = max((len(group.label) for group in groups), default=0)
        for group in groups:
            lines.append(
                f"  {group.label:<{width}}  {group.best:.4f}  {group.middle:.4f}  {plural(group.trials, 'trial')}"
            )
    lines += ["", f"importance ({report.importance_note})"]
    return lines + [f"  {value:4.0%}  {key}" for key, value in report.importance.items()]
