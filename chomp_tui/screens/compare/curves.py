"""From compared runs to the series of their charts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chomp.curves.smooth import shared_span, smoothed
from chomp.record.comparison import Comparison, Paired
from chomp.record.run_record import RunRecord
from chomp_tui.chart.series import Series
from chomp_tui.widgets.listing import fit_text

# Of a run's name above the chart, of the title with the count of clipped values, and of a run's sign with a gap.
LEAST_NAME_CELLS, MOST_NAME_CELLS, TITLE_CELLS, SIGN_CELLS = 6, 28, 24, 5
# Of more runs than these, those that find no room there are counted instead, and names are no shorter than this.
MANY, LEAST_OF_MANY = 8, 12
X_LABELS = {"step": "step", "tokens": "tokens", "time": "time", "flops": "FLOPs"}


def span_of(comparison: Comparison) -> int:
    """Steps over which the training losses are averaged."""
    return shared_span(run.own_rows["step"] for run in comparison.runs)


def best_first(comparison: Comparison) -> list[int]:
    """The places of the runs, those of the least evaluation loss first; those without one last, in their order."""
    losses = [run.summary.best.loss if run.summary.best else np.inf for run in comparison.runs]
    return sorted(range(len(losses)), key=lambda slot: losses[slot])


def loss_series(comparison: Comparison, axis: str, span: int, width: int, *, with_training: bool) -> list[Series]:
    """The training loss of each run, averaged over some steps, and its evaluations.

    Args:
        width: cells of the line that names all of them.
    """
    lines, count = [], len(comparison.runs)
    least = LEAST_NAME_CELLS if count <= MANY else LEAST_OF_MANY
    room = min(MOST_NAME_CELLS, max(least, (width - TITLE_CELLS) // min(count, MANY) - SIGN_CELLS))
    ranks = {slot: place for place, slot in enumerate(best_first(comparison))}
    for slot, run in enumerate(comparison.runs):
        name = fit_text(run.name, room, middle=True)
        rows = run.own_rows
        if with_training and len(rows):
            x, raw = run.x_of(axis, rows["step"]), rows["loss"]
            curve = Series(name, x, smoothed(rows["step"], raw, span), slot=slot, raw=raw if span else None)
            lines.append(_known(replace(curve, rank=ranks[slot])))
        evals = run.view.evals
        if len(evals):
            x = run.x_of(axis, evals["step"])
            lines.append(_known(Series(name, x, evals["loss"], "eval", sparse=True, slot=slot, rank=ranks[slot])))
    return lines


def _known(line: Series) -> Series:
    """The series without the samples whose x is not known."""
    known = np.isfinite(line.x)
    if known.all():
        return line
    raw = None if line.raw is None else line.raw[known]
    return replace(line, x=line.x[known], y=line.y[known], raw=raw)


def difference_series(paired: Paired, second: RunRecord, axis: str) -> list[Series]:
    """The mean difference over some rows with its band, and the line of no difference."""
    if not paired.windows:
        x = second.x_of(axis, paired.steps)
        return [_known(Series("difference", x, paired.differences, "raw"))] if len(x) else []
    ends = [window.last for window in paired.windows]
    x = second.x_of(axis, np.array([paired.windows[0].first, *ends]))
    means = np.array([paired.windows[0].mean.value, *(window.mean.value for window in paired.windows)])
    half = np.array([paired.windows[0].mean.half_width, *(window.mean.half_width for window in paired.windows)])
    return [
        _known(Series("zero", x, np.zeros(len(x)), "dim")),
        _known(Series("95 % low", x, means - half, "second")),
        _known(Series("95 % high", x, means + half, "second")),
        _known(Series("mean", x, means, "smooth")),
    ]
