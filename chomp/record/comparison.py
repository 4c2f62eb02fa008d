"""Runs side by side: the settings that differ, the results, and for two runs the difference on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chomp.config.spec import settings
from chomp.record.formatting import count, duration, is_finite, loss, one_line
from chomp.record.run_record import RunRecord
from chomp.record.same_batches import SameBatches, same_batches
from chomp.record.scores import newest, of_average
from chomp.record.selection import shown
from chomp.record.step_noise import LEAST_VALUES, Mean, mean_of

MISSING = "–"
SCHEDULE = "derived.optim."
OF_SCHEDULE = frozenset({"train.steps", "optim.warmup_steps", "optim.decay_steps", "optim.schedule"})
_COUNT = "{:,}".format
# Of a run's place on the disk, not of its training.
_PLACES = frozenset({"logging.run_dir"})
MOST_WINDOWS = 60
# Name, values, their form, and 1 where the least value is the best, -1 where the greatest is, 0 where none is.
_Row = tuple[str, list[Any], Callable[[Any], str], int]
# Of each evaluation set and task.
_SCORES: tuple[tuple[str, str, Callable[[Any], str], int], ...] = (
    ("loss", ": loss", loss, 1),
    ("accuracy", ": accuracy", "{:.1%}".format, -1),
    ("accuracy_norm", ": accuracy by length", "{:.1%}".format, -1),
    ("bpb", ": bits per byte", loss, 1),
)
# The verdict is about the newest part of the common rows.
NEWEST_SHARE = 4


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all runs, and its value in each; None where a run does not have it."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Result:
    """One result of each run.

    Attributes:
        texts: the values for people.
        best: the place of the best run; None where none is better, or nothing can be compared.
    """

    name: str
    values: tuple[float | int | str | None, ...]
    texts: tuple[str, ...]
    best: int | None = None


@dataclass(frozen=True)
class Window:
    """The mean difference over some rows, whose first and last step are named."""

    first: int
    last: int
    mean: Mean


@dataclass(frozen=True, eq=False)
class Paired:
    """The second run's training loss less the first's, at the steps that both have logged.

    Attributes:
        steps, differences: one value per common row, nats per token.
        windows: the mean difference and its 95 % band over consecutive rows; empty for too few rows.
        newest: the same over the newest quarter of the rows.
        verdict: in one sentence.
    """

    steps: np.ndarray
    differences: np.ndarray
    verdict: str
    windows: tuple[Window, ...] = ()
    newest: Window | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Some runs side by side.

    Attributes:
        batches, paired: of two runs; None for more, and `paired` if their batches differ.
    """

    runs: tuple[RunRecord, ...]
    differences: tuple[Difference, ...]
    results: tuple[Result, ...]
    batches: SameBatches | None = None
    paired: Paired | None = None


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Compare runs, the baseline first."""
    if len(runs) != 2:
        return Comparison(tuple(runs), differing_settings(runs), results(runs))
    first, second = runs
    batches = same_batches(first, second)
    paired = pair(first, second, batches) if batches.holds else None
    return Comparison((first, second), differing_settings(runs), results(runs), batches, paired)


def differing_settings(runs: Sequence[RunRecord]) -> tuple[Difference, ...]:
    """The settings that are not the same in all runs, in the order of the configuration.

    A setting that an older run does not know yet had what is its default now. Numbers that follow from settings are
    left out, except those of the schedule where no setting explains them: a resumed run keeps its schedule.
    """
    known = settings()
    order = {path: place for place, path in enumerate(known)}
    paths = {
        path for run in runs for path in run.settings if not path.startswith("derived.") or path.startswith(SCHEDULE)
    } - _PLACES
    found: list[Difference] = []
    for path in sorted(paths, key=lambda path: (order.get(path, len(order)), path)):
        default = known[path].default if path in known else None
        values = tuple(_value(run, path, default) for run in runs if run.settings)
        explained = path.startswith(SCHEDULE) and any(one.path in OF_SCHEDULE for one in found)
        if any(value != values[0] for value in values) and not explained:
            found.append(Difference(path, tuple(_value(run, path, default) for run in runs)))
    return tuple(found)


def _value(run: RunRecord, path: str, default: Any) -> Any:
    """A setting of a run; an empty list is as good as none, which another version may have written in its place."""
    value = run.settings.get(path, default)
    return None if value in ([], {}) else value


def results(runs: Sequence[RunRecord]) -> tuple[Result, ...]:
    """What the runs have reached; losses in nats per token."""
    best, of_ema = [run.summary.best for run in runs], [run.summary.ema for run in runs]
    ends = [np.array([run.summary.step]) for run in runs]
    table: list[_Row] = [
        ("best eval loss", [one.loss if one else None for one in best], loss, 1),
        ("bits per byte", [one.bpb if one else None for one in best], loss, 1),
        ("at step", [one.step if one else None for one in best], _COUNT, 0),
        ("last eval loss", [run.summary.eval_loss for run in runs], loss, 1),
        ("best eval loss of ema", [one.loss if one else None for one in of_ema], loss, 1),
        ("bits per byte of ema", [one.bpb if one else None for one in of_ema], loss, 1),
        ("last eval loss of ema", [run.summary.ema_loss for run in runs], loss, 1),
        *_scored(runs),
        ("last train loss", [run.summary.loss for run in runs], loss, 0),
        ("state", [run.summary.status.word for run in runs], shown, 0),
        ("step", [run.summary.step for run in runs], _COUNT, 0),
        ("tokens", [run.summary.tokens_seen or None for run in runs], count, 0),
        ("tokens per second", [_usual(run, "tokens_per_sec") for run in runs], count, 0),
        ("training time", [_last(run.x_of("time", end)) for run, end in zip(runs, ends, strict=True)], duration, 0),
        ("FLOPs", [_last(run.x_of("flops", end)) for run, end in zip(runs, ends, strict=True)], "{:.3g}".format, 0),
        ("parameters", [run.summary.parameters for run in runs], count, 0),
        ("device", [run.summary.device or None for run in runs], shown, 0),
    ]
    return tuple(
        Result(
            name,
            tuple(values),
            tuple(MISSING if value is None else text(value) for value in values),
            _least([None if value is None else sign * value for value in values]) if sign else None,
        )
        for name, values, text, sign in table
        if any(value is not None for value in values)
    )


def _scored(runs: Sequence[RunRecord]) -> Iterator[_Row]:
    """The newest scores of evaluation sets and tasks, each followed by those of the moving average."""
    found = [newest(run.view.scores) for run in runs]
    for name in dict.fromkeys(name for scores in found for name in scores):
        own = [scores.get(name) for scores in found]
        averages = [None if score is None else of_average(score) for score in own]
        for scored in (own, averages):
            title = next((one_line(score.name) for score in scored if score is not None), "")
            for key, word, text, sign in _SCORES:
                values = [getattr(score, key, None) for score in scored]
                yield f"{title}{word}", [value if is_finite(value) else None for value in values], text, sign


def _last(values: np.ndarray) -> float | None:
    return float(values[-1]) if len(values) and np.isfinite(values[-1]) else None


def _usual(run: RunRecord, column: str) -> float | None:
    values = run.own_rows[column]
    return float(np.nanmedian(values)) if np.isfinite(values).any() else None


def _least(values: Sequence[Any]) -> int | None:
    """The place of the least value, if it is the only one so small."""
    numbers = [np.inf if value is None else value for value in values]
    place = int(np.argmin(numbers))
    return place if np.isfinite(numbers[place]) and numbers.count(numbers[place]) == 1 and len(values) > 1 else None


def pair(first: RunRecord, second: RunRecord, batches: SameBatches) -> Paired:
    """The difference of two runs at the steps at which both have logged the loss of the same batch.

    The loss of a step depends on its batch far more than on a change of settings. Both runs have read the same one, so
    that this part cancels in the difference; what is left of it is noise that `mean_of` estimates.
    """
    left, right = first.own_rows, second.own_rows
    steps, at_left, at_right = np.intersect1d(left["step"], right["step"], assume_unique=True, return_indices=True)
    differences = right["loss"][at_right].astype(np.float64) - left["loss"][at_left].astype(np.float64)
    kept = np.isfinite(differences) & (steps > batches.after)
    if batches.until is not None:
        kept &= steps <= batches.until
    steps, differences = steps[kept], differences[kept]
    windows = tuple(_windows(steps, differences))
    newest = _window(steps, differences, max(LEAST_VALUES, len(steps) // NEWEST_SHARE))
    return Paired(steps, differences, _verdict(first, second, len(steps), newest), windows, newest)


def _windows(steps: np.ndarray, differences: np.ndarray) -> list[Window]:
    count = min(len(steps) // LEAST_VALUES, MOST_WINDOWS)
    parts = zip(np.array_split(steps, count), np.array_split(differences, count), strict=True) if count else ()
    return [found for at, part in parts if (found := _window(at, part, len(at))) is not None]


def _window(steps: np.ndarray, differences: np.ndarray, newest: int) -> Window | None:
    mean = mean_of(differences[-newest:])
    return None if mean is None else Window(int(steps[-newest:][0]), int(steps[-1]), mean)


def _verdict(first: RunRecord, second: RunRecord, count: int, newest: Window | None) -> str:
    if newest is None:
        return (
            f"too few common rows to tell: {count}, and at least {LEAST_VALUES} are needed; train.log_every sets them"
        )
    mean = newest.mean
    where = f"over steps {newest.first:,} to {newest.last:,}"
    size = f"{mean.value:+.4f} ± {mean.half_width:.4f} nats per token {where}, 95 % band"
    if not mean.is_clear:
        return f"no difference beyond the noise of the steps: {second.name} − {first.name} = {size}"
    word = "lower" if mean.value < 0 else "higher"
    return f"{second.name} is {word} than {first.name}, beyond the noise of the steps: {size}"


def binned_losses(run: RunRecord, axis: str, edges: np.ndarray) -> np.ndarray:
    """The mean training loss of the run's own rows between each two neighbouring values of x; NaN without rows."""
    rows = run.own_rows
    x, losses = run.x_of(axis, rows["step"]), rows["loss"].astype(np.float64)
    known = np.isfinite(x) & np.isfinite(losses)
    place = np.searchsorted(edges, x[known]) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    sums = np.bincount(place[inside], losses[known][inside], len(edges) - 1)
    counts = np.bincount(place[inside], minlength=len(edges) - 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def common_edges(runs: Sequence[RunRecord], axis: str, parts: int) -> np.ndarray | None:
    """Values of x that cut what all runs have reached into equal parts; None where a run does not say its x."""
    ends = [_last(run.x_of(axis, run.own_rows["step"][-1:])) for run in runs]
    known = [end for end in ends if end is not None and end > 0]
    return np.linspace(0.0, min(known), parts + 1) if len(known) == len(ends) else None


def left_out(path: Path, error: Exception) -> str:
    """In one sentence that a run is not compared, and why."""
    return f"{one_line(path.name or str(path))} is left out: {error}"


def setting_text(value: Any) -> str:
    """A value of a setting for people."""
    return MISSING if value is None else shown(value)
