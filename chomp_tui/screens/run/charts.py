"""From a run's rows to the series of its charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from chomp.record.columns import Columns
from chomp.record.run_view import RunView
from chomp_tui.chart.series import Series
from chomp_tui.chart.smooth import Smoother
from chomp_tui.live.snapshot import RunSnapshot

SMOOTHINGS = (0.0, 0.5, 0.9, 0.98)
NEAR = 64
X_AXES = ("step", "tokens", "time")
# Columns of rows that the loss chart and the tiles show, or that only describe a row.
SHOWN_ELSEWHERE = frozenset({
    "step", "t", "tokens_seen", "loss", "lr_muon", "step_time_s", "mfu", "packing_utilization", "eval_loss", "eval_bpb",
    "first_step_compile_time_s",
})  # fmt: skip
MOST_TERMS = 12


@dataclass(frozen=True)
class RunChart:
    """A chart of the run view.

    Attributes:
        name: the id of its widget.
        columns: of the rows; the chart of terms does not draw them again.
        lines: makes the series; without it, each column is a line that is named after it.
    """

    name: str
    title: str
    columns: tuple[str, ...] = ()
    lines: Callable[[RunSnapshot], list[Series]] | None = None
    unit: str = ""

    def series(self, snapshot: RunSnapshot) -> list[Series]:
        """What to draw of a run."""
        return self.lines(snapshot) if self.lines else _toned_lines(snapshot, self.columns)


class SmoothedLoss:
    """The smoothed loss of a growing run; only new rows cost work."""

    def __init__(self) -> None:
        self._weight = -1.0
        self._until = (0.0, 0.0)
        self._smoother = Smoother(0.0)
        self.values = np.empty(0)

    def of(self, rows: Columns, weight: float) -> np.ndarray:
        """A value for each row."""
        done = len(self.values)
        continues = weight == self._weight and 0 < done <= len(rows) and _row_key(rows, done - 1) == self._until
        if not continues:
            done, self._weight, self._smoother, self.values = 0, weight, Smoother(weight), np.empty(0)
        if len(rows) > done:
            self.values = np.concatenate((self.values, self._smoother.extend(rows["loss"][done:])))
            self._until = _row_key(rows, len(rows) - 1)
        return self.values


def _row_key(rows: Columns, index: int) -> tuple[float, float]:
    return float(rows["step"][index]), float(rows["t"][index])


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


def loss_lines(snapshot: RunSnapshot) -> list[Series]:
    """Training loss, smoothed, and evaluations on top."""
    view = snapshot.view
    x = x_values(view.rows, view, snapshot.x_axis)
    lines = [Series("train", x, view.rows["loss"], "raw" if snapshot.smoothing else "smooth")]
    if snapshot.smoothing:
        lines.append(Series(f"smoothed {snapshot.smoothing:g}", x, snapshot.smoothed, "smooth"))
    if len(view.evals):
        x = x_values(view.evals, view, snapshot.x_axis)
        lines.append(Series("eval", x, view.evals["loss"], "eval", sparse=True))
    parent = snapshot.update.parent_rows
    # By time the parent has no place: it may have trained days before.
    if len(parent) and snapshot.x_axis != "time":
        x = parent["tokens_seen"] if snapshot.x_axis == "tokens" else parent["step"]
        lines.insert(0, Series("parent", x, parent["loss"], "dim"))
    return lines


def memory_lines(snapshot: RunSnapshot) -> list[Series]:
    """Memory of the device and of the host; of the host alone if the device reports none."""
    host = ("host", "host_memory_gb")
    if not _reports(snapshot, "device_memory_gb"):
        return [_line(snapshot, *host)]
    series = [("limit", "device_memory_limit_gb", "raw"), ("peak", "peak_memory_gb", "second"), (*host, "eval")]
    shown = [_line(snapshot, *one) for one in series if _reports(snapshot, one[1])]
    return [*shown, _line(snapshot, "in use", "device_memory_gb")]


def terms_of(view: RunView) -> list[str]:
    """Columns of the objective's terms, and of all metrics that no other panel shows."""
    rows = view.rows
    names = (name for name in rows.names if name not in DRAWN and rows.has_numbers(name))
    return [name for name in names if _shows(rows[name])][:MOST_TERMS]


def _shows(values: np.ndarray) -> bool:
    """Whether there is a number, which nearly always is near the end."""
    return bool(np.isfinite(values[-NEAR:]).any() or np.isfinite(values).any())


def term_lines(snapshot: RunSnapshot) -> list[Series]:
    """Terms of the objective beside the loss, without their weights, and other metrics."""
    return _toned_lines(snapshot, terms_of(snapshot.view))


def _toned_lines(snapshot: RunSnapshot, columns: Iterable[str]) -> list[Series]:
    """A line for each column, named after it."""
    tones = cycle(("smooth", "second", "eval", "raw"))
    return [
        _line(snapshot, column.replace("_loss", "").replace("_", " "), column, tone)
        for column, tone in zip(columns, tones, strict=False)
    ]


def _reports(snapshot: RunSnapshot, column: str) -> bool:
    return snapshot.newest(column) is not None


def _line(snapshot: RunSnapshot, name: str, column: str, tone: str = "smooth") -> Series:
    rows = snapshot.view.rows
    return Series(name, x_values(rows, snapshot.view, snapshot.x_axis), rows[column], tone)  # type: ignore[arg-type]


# Charts below or beside the loss, in this order. The learning rate of Muon is a fixed multiple of the other and would
# flatten the curve.
SMALL_CHARTS = (
    RunChart("speed", "tokens/s", ("tokens_per_sec",)),
    RunChart("grad", "gradient norm", ("grad_norm",)),
    RunChart("rate", "learning rate", ("lr",)),
    RunChart(
        "device",
        "memory",
        ("device_memory_gb", "peak_memory_gb", "device_memory_limit_gb", "host_memory_gb"),
        memory_lines,
        unit="GiB",
    ),
)
CHARTS = (RunChart("loss", "loss", lines=loss_lines), *SMALL_CHARTS, RunChart("terms", "terms", lines=term_lines))
DRAWN = SHOWN_ELSEWHERE.union(*(chart.columns for chart in SMALL_CHARTS))
