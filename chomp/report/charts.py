"""What a report draws of runs, as data: one description for the page and for charts as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chomp.curves import DEFAULT_SPAN
from chomp.curves.bins import binned, samples
from chomp.curves.limits import WARM_UP, Range, clipped, limits
from chomp.curves.scale import Scale
from chomp.curves.smooth import shared_span, smoothed
from chomp.record.columns import Columns
from chomp.record.comparison import Paired
from chomp.record.formatting import short_name
from chomp.record.run_record import RunRecord

Role = Literal["raw", "mean", "eval", "plain", "band", "zero"]
# Columns whose least and greatest values set the range, and what is left free above and below.
COLUMNS = 500
MARGIN = 0.05
AXIS_TITLES = {"step": "step", "tokens": "loss tokens", "time": "time in training steps", "flops": "training FLOPs"}


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
        shown: which values set the range of y, as in the console's charts.
        marks: places on x with a word.
    """

    key: str
    title: str
    lines: tuple[Line, ...]
    axis: str = "step"
    shown: Range = "together"
    marks: tuple[tuple[float, str], ...] = ()

    def scale(self) -> Scale | None:
        """The range of y; None where no value can be shown."""
        of_one_run = len({line.slot for line in self.lines}) == 1
        edges = [
            (samples(line.x, edge), of_one_run and line.role == "eval")
            for line in self.lines
            for edge in (line.y, line.low)
            if edge is not None
        ]
        series = [one for one, _ in edges if not one.empty]
        kept = [is_kept for one, is_kept in edges if not one.empty]
        if not series:
            return None
        first, last = min(one.x[0] for one in series), max(one.x[-1] for one in series)
        columns = np.linspace(first, np.nextafter(last, np.inf), COLUMNS + 1)
        found = limits([binned(one, columns) for one in series], COLUMNS * WARM_UP, self.shown, log=False, kept=kept)
        if found is None:
            return None
        pad = MARGIN * (found.high - found.low)
        return Scale(found.low - pad, found.high + pad)

    def clipped(self, scale: Scale) -> str:
        """How many values the range leaves out; those of smoothed lines are not counted."""
        counted = [line for line in self.lines if line.role in ("raw", "plain", "eval")]
        return clipped((samples(line.x, line.y).y for line in counted), scale.low, scale.high)


def charts_of(
    runs: Sequence[RunRecord], axis: str = "step", paired: Paired | None = None, smoothing: int = DEFAULT_SPAN
) -> list[Chart]:
    """The charts that have something to show: loss, difference, learning rate, gradient norm, speed.

    Args:
        smoothing: steps that the loss of one run is averaged over; several runs share a number that fits the longest.
    """
    span = smoothing if len(runs) == 1 else shared_span(run.own_rows["step"] for run in runs)
    marks = _marks(runs[0], axis) if len(runs) == 1 else ()
    found = [Chart("loss", "Loss (nats per token)", tuple(_losses(runs, axis, span)), axis, marks=marks)]
    if paired is not None and paired.windows:
        found.append(_difference(runs, paired))
    for key, title, column in (
        ("lr", "Learning rate", "lr"),
        ("grad_norm", "Gradient norm", "grad_norm"),
        ("speed", "Tokens per second", "tokens_per_sec"),
    ):
        lines = tuple(_plain(runs, axis, column))
        found.append(Chart(key, title, lines, axis, "all" if key == "lr" else "together"))
    return [chart for chart in found if any(np.isfinite(line.y).any() for line in chart.lines)]


def rows_of(run: RunRecord, runs: Sequence[RunRecord]) -> Columns:
    """The rows that a chart shows: of a fork beside others only its own, since its origin's are theirs."""
    return run.view.rows if len(runs) == 1 else run.own_rows


def _losses(runs: Sequence[RunRecord], axis: str, span: int) -> list[Line]:
    raw, means, evals = [], [], []
    for slot, run in enumerate(runs):
        rows = rows_of(run, runs)
        x, loss = run.x_of(axis, rows["step"]), rows["loss"]
        prefix = f"{short_name(run.name)}: " if len(runs) > 1 else ""
        raw.append(Line(f"{prefix}train", x, loss, "raw" if span else "plain", slot))
        if span:
            mean = smoothed(rows["step"], loss, span)
            means.append(Line(f"{prefix}train, smoothed {span} steps", x, mean, "mean", slot))
        scored = run.view.evals
        if len(scored):
            evals.append(Line(f"{prefix}eval", run.x_of(axis, scored["step"]), scored["loss"], "eval", slot))
    return [*raw, *means, *evals]


def _plain(runs: Sequence[RunRecord], axis: str, column: str) -> list[Line]:
    return [
        Line(
            short_name(run.name) if len(runs) > 1 else "newest",
            run.x_of(axis, rows["step"]),
            rows[column],
            "plain",
            slot,
        )
        for slot, run in enumerate(runs)
        for rows in [rows_of(run, runs)]
    ]


def _difference(runs: Sequence[RunRecord], paired: Paired) -> Chart:
    x = np.array([(one.first + one.last) / 2 for one in paired.windows])
    mean = np.array([one.mean.value for one in paired.windows])
    half = np.array([one.mean.half_width for one in paired.windows])
    title = f"Loss of {short_name(runs[1].name)} less {short_name(runs[0].name)}, same batches (nats per token)"
    lines = (
        Line("95 % band", x, mean + half, "band", 1, low=mean - half),
        Line("mean difference", x, mean, "mean", 1),
        Line("no difference", x, np.zeros(len(x)), "zero"),
    )
    return Chart("difference", title, lines, shown="all")


def _marks(run: RunRecord, axis: str) -> tuple[tuple[float, str], ...]:
    steps = [(run.forked_at, "fork")] if run.forked_at else []
    steps += [(one.step, "rollback") for one in run.view.rollbacks]
    places = run.x_of(axis, np.array([step for step, _ in steps], np.float64))
    return tuple((float(x), word) for x, (_, word) in zip(places, steps, strict=True) if np.isfinite(x))
