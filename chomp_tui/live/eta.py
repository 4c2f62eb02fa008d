"""How far a run is, and how long it will still take."""

from __future__ import annotations

import numpy as np

from chomp.record.overhead import overhead_seconds_per_step
from chomp.record.run_view import RunView
from chomp.record.scores import seconds_by_name

RECENT_ROWS = 64
LEAST_ROWS = 2


def progress(view: RunView) -> float | None:
    """Share of the steps that are done, from 0 to 1; None while their number is unknown."""
    if not view.total_steps:
        return None
    return min(view.step / view.total_steps, 1.0)


def eta_seconds(view: RunView, now: float) -> float | None:
    """Seconds until the last step, or None where unknown.

    Recent steps at their usual speed, and evaluations, samples and saves at their usual
    frequency and length, without those that a user commanded. Compiling and pauses are left
    out; rows of earlier attempts count.
    """
    pace = step_seconds(view)
    if view.total_steps is None or view.ended is not None or pace is None:
        return None
    left = max(view.total_steps - view.step, 0) * (pace + _overhead_seconds_per_step(view))
    if view.phase is not None and view.phase.name == "train" and view.last_t is not None:
        # Between two rows time passes too, but never more than one more row should take.
        left -= min(max(now - view.last_t, 0.0), pace * _usual_gap(view.rows["step"][-RECENT_ROWS:]))
    return max(left, 0.0)


def step_seconds(view: RunView) -> float | None:
    """The usual seconds of a recent step: the median over steps, which a few slow ones do not move."""
    if len(view.rows) < LEAST_ROWS:
        return None
    steps, seconds = view.rows["step"][-RECENT_ROWS:], view.rows["step_time_s"][-RECENT_ROWS:].astype(np.float64)
    weights = np.diff(steps, prepend=steps[0] - 1)
    usable = np.isfinite(seconds) & (seconds > 0)
    seconds, weights = seconds[usable], weights[usable]
    if not len(seconds):
        return None
    order = np.argsort(seconds)
    reached = np.cumsum(weights[order])
    return float(seconds[order][np.searchsorted(reached, reached[-1] / 2)])


def _overhead_seconds_per_step(view: RunView) -> float:
    """Seconds of evaluation, sampling and saving that fall on a step."""
    sampled: dict[int, float] = {}
    for sample in view.samples:
        sampled[sample.step] = sampled.get(sample.step, 0.0) + sample.seconds
    evals = (view.evals[name][-RECENT_ROWS:].tolist() for name in ("step", "seconds"))
    saved = {one.step: one.blocked_seconds for one in view.checkpoints.values() if one.blocked_seconds is not None}
    scored = seconds_by_name(view.scores)
    return overhead_seconds_per_step(dict(zip(*evals, strict=True)), sampled, saved, view.answers, scored)


def _usual_gap(steps: np.ndarray) -> float:
    """The median distance of ascending steps, at least 1; a single one is measured from the start."""
    gaps = np.diff(steps) if len(steps) > 1 else steps
    return max(float(np.median(gaps)), 1.0) if len(gaps) else 1.0
