"""What a report draws of runs, as data: one description for the page and for charts as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chomp.record.columns import Columns
from chomp.record.comparison import Paired
from chomp.record.run_record import RunRecord
from chomp.report.axes import mean_of_last

Role = Literal["raw", "mean", "eval", "plain", "band", "zero"]
# The training loss is smoothed over the steps of the longest run divided by this.
SMOOTHED_PARTS = 50
AXIS_TITLES = {"step": "step", "tokens": "loss tokens", "time": "time in training steps", "flops": "training FLOPs"}
AXIS_UNITS = {"step": "count", "tokens": "count", "time": "seconds", "flops": ""}


@dataclass(frozen=True, eq=False)
class Line:
    """One series; those of one run share its `slot`, from which the colour follows.

    Attributes:
        low: the lower edge of a band, of which `y` is the upper one.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    role: Role
    slot: int = 0
    low: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """One chart.

    Attributes:
        key: a name for files.
        axis: of x: step, tokens, time or flops.
        is_whole: whether y shows every value, else almost all after the first part.
        marks: places on x with a word.
    """

    key: str
    title: str
    lines: tuple[Line, ...]
    axis: str = "step"
    from_zero: bool = False
    is_whole: bool = False
    marks: tuple[tuple[float, str], ...] = ()


def charts_of(runs: Sequence[RunRecord], axis: str = "step", paired: Paired | None = None) -> list[Chart]:
    """The charts that have something to show: loss, difference, learning rate, gradient norm, speed."""
    marks = _marks(runs[0], axis) if len(runs) == 1 else ()
    found = [Chart("loss", "Loss (nats per token)", tuple(_losses(runs, axis)), axis, marks=marks)]
    if paired is not None and paired.windows:
        found.append(_difference(runs, paired))
    for key, title, column, from_zero in (
        ("lr", "Learning rate", "lr", True),
        ("grad_norm", "Gradient norm", "grad_norm", False),
        ("speed", "Tokens per second", "tokens_per_sec", True),
    ):
        lines = tuple(_plain(runs, axis, column))
        found.append(Chart(key, title, lines, axis, from_zero=from_zero, is_whole=key == "lr"))
    return [chart for chart in found if any(np.isfinite(line.y).any() for line in chart.lines)]


def rows_of(run: RunRecord, runs: Sequence[RunRecord]) -> Columns:
    """The rows that a chart shows: of a fork beside others only its own, since its origin's are theirs."""
    return run.view.rows if len(runs) == 1 else run.own_rows


def _smoothed_steps(runs: Sequence[RunRecord]) -> int:
    """Over how many steps the training loss of all runs is smoothed."""
    return max([int(np.ptp(rows["step"])) // SMOOTHED_PARTS for run in runs if len(rows := rows_of(run, runs))] or [0])


def _rows_within(steps: np.ndarray, width: int) -> int:
    """How many rows are in so many steps."""
    return max(1, round(width / float(np.median(np.diff(steps))))) if len(steps) > 1 else 1


def _losses(runs: Sequence[RunRecord], axis: str) -> list[Line]:
    raw, means, evals = [], [], []
    width = _smoothed_steps(runs)
    for slot, run in enumerate(runs):
        rows = rows_of(run, runs)
        x, loss, count = run.x_of(axis, rows["step"]), rows["loss"], _rows_within(rows["step"], width)
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        if count == 1:
            means.append(Line(f"{prefix}train", x, loss, "mean", slot))
        else:
            raw.append(Line(f"{prefix}train", x, loss, "raw", slot))
            means.append(Line(f"{prefix}train, mean of {width} steps", x, mean_of_last(loss, count), "mean", slot))
        scored = run.view.evals
        if len(scored):
            evals.append(Line(f"{prefix}eval", run.x_of(axis, scored["step"]), scored["loss"], "eval", slot))
    return [*raw, *means, *evals]


def _plain(runs: Sequence[RunRecord], axis: str, column: str) -> list[Line]:
    return [
        Line(run.name if len(runs) > 1 else "newest", run.x_of(axis, rows["step"]), rows[column], "plain", slot)
        for slot, run in enumerate(runs)
        for rows in [rows_of(run, runs)]
    ]


def _difference(runs: Sequence[RunRecord], paired: Paired) -> Chart:
    x = np.array([(one.first + one.last) / 2 for one in paired.windows])
    mean = np.array([one.mean.value for one in paired.windows])
    half = np.array([one.mean.half_width for one in paired.windows])
    title = f"Loss of {runs[1].name} less {runs[0].name}, same batches (nats per token)"
    lines = (
        Line("95 % band", x, mean + half, "band", 1, low=mean - half),
        Line("mean difference", x, mean, "mean", 1),
        Line("no difference", x, np.zeros(len(x)), "zero"),
    )
    return Chart("difference", title, lines, is_whole=True)


def _marks(run: RunRecord, axis: str) -> tuple[tuple[float, str], ...]:
    steps = [(run.forked_at, "fork")] if run.forked_at else []
    steps += [(one.step, "rollback") for one in run.view.rollbacks]
    places = run.x_of(axis, np.array([step for step, _ in steps], np.float64))
    return tuple((float(x), word) for x, (_, word) in zip(places, steps, strict=True) if np.isfinite(x))
