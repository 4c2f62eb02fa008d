"""What the curves of a run are plotted over: steps, tokens or seconds."""

from __future__ import annotations

import numpy as np

from chomp.record.columns import Columns
from chomp.record.run_view import RunView


def x_values(columns: Columns, view: RunView, x_axis: str) -> np.ndarray:
    """What rows or evaluations are plotted by; time in seconds since the first attempt began."""
    if x_axis == "tokens":
        return columns["tokens_seen"] if columns is view.rows else tokens_at(columns["step"], view)
    if x_axis == "time":
        return columns["t"] - (view.first_started_at or (float(columns["t"][0]) if len(columns) else 0.0))
    return columns["step"]


def tokens_at(steps: np.ndarray, view: RunView) -> np.ndarray:
    """Loss tokens up to each step, at the pace of the rows up to it; before the first row, at the configured pace."""
    rows, configured = view.rows, view.started.tokens_per_step if view.started is not None else np.nan
    if not len(rows):
        return steps * configured
    place = np.searchsorted(rows["step"], steps, side="right") - 1
    pace = rows["tokens_seen"][place] / np.maximum(rows["step"][place], 1)
    return steps * np.where((place < 0) | np.isnan(pace), configured, pace)


def nearest(x: np.ndarray, wanted: float) -> int:
    """The place of the value of ascending x that is nearest to another; x is not empty."""
    after = min(int(np.searchsorted(x, wanted)), len(x) - 1)
    before = max(after - 1, 0)
    return before if abs(float(x[before]) - wanted) <= abs(float(x[after]) - wanted) else after
