"""From a run's rows to the series of its charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from chomp.curves.limits import Range
from chomp.curves.smooth import Smoother
from chomp.record.columns import Columns
from chomp.record.formatting import sanitize
from chomp.record.run_view import RunView
from chomp_tui.chart.series import Series, Tone
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.live.x_axes import x_values

# Steps that the smoothed loss averages over; 0 for none.
SMOOTHINGS = (0, 10, 30, 100, 300, 1000)
NEAR = 64
# Columns of rows that the loss chart and the tiles show, or that only describe a row.
SHOWN_ELSEWHERE = frozenset({
    "step", "t", "tokens_seen", "loss", "lr_muon", "step_time_s", "mfu", "packing_utilization", "eval_loss", "eval_bpb",
    "eval_ema_loss", "eval_ema_bpb",
    "first_step_compile_time_s",
})  # fmt: skip
MOST_TERMS = 12
_TONES: tuple[Tone, ...] = ("smooth", "second", "eval", "raw")
# What a row has by source of a mixture, before the source's name.
BY_SOURCE = ("loss/", "tokens/", "epochs/")


@dataclass(frozen=True)
class RunChart:
    """A chart of the run view.

    Attributes:
        name: the id of its widget.
        columns: of the rows; the chart of terms does not draw them again.
        lines: makes the series; without it, each column is a line that is named after it.
        shown: which values set the range of y.
    """

    name: str
    title: str
    columns: tuple[str, ...] = ()
    lines: Callable[[RunSnapshot], list[Series]] | None = None
    unit: str = ""
    shown: Range = "together"

    def series(self, snapshot: RunSnapshot) -> list[Series]:
        """What to draw of a run."""
        return self.lines(snapshot) if self.lines else _toned_lines(snapshot, self.columns)


class SmoothedLoss:
    """The smoothed loss of a growing run; only new rows cost work."""

    def __init__(self) -> None:
        self._steps = -1
        self._until = (0.0, 0.0)
        self._smoother = Smoother(0)
        self.values = np.empty(0)

    def of(self, rows: Columns, steps: int) -> np.ndarray:
        """A value for each row, averaged over so many steps."""
        done = len(self.values)
        continues = steps == self._steps and 0 < done <= len(rows) and _row_key(rows, done - 1) == self._until
        if not continues:
            done, self._steps, self._smoother, self.values = 0, steps, Smoother(steps), np.empty(0)
        if len(rows) > done:
            new = self._smoother.extend(rows["step"][done:], rows["loss"][done:])
            self.values = np.concatenate((self.values, new))
            self._until = _row_key(rows, len(rows) - 1)
        return self.values


def _row_key(rows: Columns, index: int) -> tuple[float, float]:
    return float(rows["step"][index]), float(rows["t"][index])


def loss_lines(snapshot: RunSnapshot) -> list[Series]:
    """Training loss, smoothed, and evaluations on top."""
    view = snapshot.view
    x = x_values(view.rows, view, snapshot.x_axis)
    lines = [Series("train", x, view.rows["loss"], "raw" if snapshot.smoothing else "smooth")]
    if snapshot.smoothing:
        lines.append(Series(f"smoothed {snapshot.smoothing} steps", x, snapshot.smoothed, "smooth"))
    if len(view.evals):
        x = x_values(view.evals, view, snapshot.x_axis)
        lines.append(Series("eval", x, view.evals["loss"], "eval", sparse=True))
        if view.evals.has_numbers("ema_loss"):
            lines.append(Series("eval of ema", x, view.evals["ema_loss"], "second", sparse=True))
    parent = snapshot.update.parent_rows
    # By time the parent has no place: it may have trained days before.
    if len(parent) and snapshot.x_axis != "time":
        x = parent["tokens_seen"] if snapshot.x_axis == "tokens" else parent["step"]
        lines.insert(0, Series("parent", x, parent["loss"], "dim"))
    return lines


def memory_lines(snapshot: RunSnapshot) -> list[Series]:
    """Memory of the device and of the host; of the host alone if the device reports none."""
    if not _reports(snapshot, "device_memory_gb"):
        return [_line(snapshot, "host", "host_memory_gb")]
    series: list[tuple[str, str, Tone]] = [
        ("limit", "device_memory_limit_gb", "raw"),
        ("peak", "peak_memory_gb", "second"),
        ("host", "host_memory_gb", "eval"),
    ]
    shown = [_line(snapshot, *one) for one in series if _reports(snapshot, one[1])]
    return [*shown, _line(snapshot, "in use", "device_memory_gb")]


def _named(view: RunView, *prefixes: str) -> dict[str, str]:
    """Columns of the first of these kinds that has numbers, by the names of sets or tasks: `eval_loss/NAME`."""
    rows = view.rows
    for prefix in prefixes:
        found = {
            name.removeprefix(prefix): name for name in rows.names if name.startswith(prefix) and rows.has_numbers(name)
        }
        shown = {name: column for name, column in found.items() if np.isfinite(rows[column]).any()}
        if shown:
            return dict(list(shown.items())[:MOST_TERMS])
    return {}


def sets_of(view: RunView) -> dict[str, str]:
    """Columns of the losses of evaluation sets, by name."""
    return _named(view, "eval_loss/")


def accuracies_of(view: RunView) -> dict[str, str]:
    """Columns of the accuracies of tasks, by name."""
    return _named(view, "task_accuracy/")


def task_bits_of(view: RunView) -> dict[str, str]:
    """Columns of the bits per byte of tasks, by name."""
    return _named(view, "task_bpb/")


def _scored_lines(snapshot: RunSnapshot, columns: dict[str, str]) -> list[Series]:
    """A line for each set or task, through the steps at which it was scored, and one for its moving average."""
    rows, lines = snapshot.view.rows, list[Series]()
    x = x_values(rows, snapshot.view, snapshot.x_axis)
    averages = {f"{name} of ema": average_of(column) for name, column in columns.items()}
    for name, column in (columns | {name: one for name, one in averages.items() if one in rows.names}).items():
        scored = np.isfinite(rows[column])
        lines.append(Series(name, x[scored], rows[column][scored], "eval", sparse=True, slot=len(lines)))
    return lines


def average_of(column: str) -> str:
    """The column of the same score by the moving average: `task_ema_bpb/NAME` for `task_bpb/NAME`."""
    kind, _, score = column.partition("_")
    return f"{kind}_ema_{score}"


def terms_of(view: RunView) -> list[str]:
    """Columns of the objective's terms, and of all metrics that no other panel shows."""
    rows = view.rows
    names = (name for name in rows.names if name not in DRAWN and "/" not in name and rows.has_numbers(name))
    return [name for name in names if _shows(rows[name])][:MOST_TERMS]


def _shows(values: np.ndarray) -> bool:
    """Whether there is a number, which nearly always is near the end."""
    return bool(np.isfinite(values[-NEAR:]).any() or np.isfinite(values).any())


def term_lines(snapshot: RunSnapshot) -> list[Series]:
    """Terms of the objective beside the loss, without their weights, and other metrics."""
    return _toned_lines(snapshot, terms_of(snapshot.view))


def has_sources(view: RunView) -> bool:
    """Whether a run mixes sources of text."""
    return any(name.startswith(BY_SOURCE) for name in view.rows.names)


def source_lines(kind: str) -> Callable[[RunSnapshot], list[Series]]:
    """A line for each source of a mixture."""

    def lines(snapshot: RunSnapshot) -> list[Series]:
        rows, tones = snapshot.view.rows, cycle(_TONES)
        names = [name for name in rows.names if name.startswith(f"{kind}/") and rows.has_numbers(name)][:MOST_TERMS]
        return [
            _line(snapshot, sanitize(name.partition("/")[2]), name, tone)
            for name, tone in zip(names, tones, strict=False)
        ]

    return lines


def _toned_lines(snapshot: RunSnapshot, columns: Iterable[str]) -> list[Series]:
    """A line for each column, named after it."""
    tones = cycle(_TONES)
    return [
        _line(snapshot, column.replace("_loss", "").replace("_", " "), column, tone)
        for column, tone in zip(columns, tones, strict=False)
    ]


def _reports(snapshot: RunSnapshot, column: str) -> bool:
    return snapshot.newest(column) is not None


def _line(snapshot: RunSnapshot, name: str, column: str, tone: Tone = "smooth") -> Series:
    rows = snapshot.view.rows
    return Series(name, x_values(rows, snapshot.view, snapshot.x_axis), rows[column], tone)


# Charts below or beside the loss, in this order. The learning rate of Muon is a fixed multiple of the other and would
# flatten the curve.
SMALL_CHARTS = (
    RunChart("speed", "tokens/s", ("tokens_per_sec",)),
    RunChart("grad", "gradient norm", ("grad_norm",)),
    RunChart("rate", "learning rate", ("lr",), shown="all"),
    RunChart(
        "device",
        "memory",
        ("device_memory_gb", "peak_memory_gb", "device_memory_limit_gb", "host_memory_gb"),
        memory_lines,
        unit="GiB",
        shown="all",
    ),
)
SOURCE_CHARTS = (
    RunChart("source-loss", "loss by source", lines=source_lines("loss")),
    RunChart("source-tokens", "tokens by source", lines=source_lines("tokens"), shown="all"),
    RunChart("source-epochs", "epochs by source", lines=source_lines("epochs"), shown="all"),
)
CHARTS = (
    RunChart("loss", "loss", lines=loss_lines),
    *SMALL_CHARTS,
    *SOURCE_CHARTS,
    RunChart("sets", "evaluation sets", lines=lambda snapshot: _scored_lines(snapshot, sets_of(snapshot.view))),
    RunChart("tasks", "task accuracy", lines=lambda snapshot: _scored_lines(snapshot, accuracies_of(snapshot.view))),
    RunChart("taskbits", "task bits/byte", lines=lambda snapshot: _scored_lines(snapshot, task_bits_of(snapshot.view))),
    RunChart("terms", "terms", lines=term_lines, shown="apart"),
)


def extra_panels(view: RunView) -> frozenset[str]:
    """The charts that only some runs have numbers for, of those that this one has; and `samples` if it has any."""
    shown = {
        "sets": sets_of,
        "tasks": accuracies_of,
        "taskbits": task_bits_of,
        "terms": terms_of,
        "sources": has_sources,
        "samples": lambda view: view.samples,
    }
    return frozenset(name for name, of in shown.items() if of(view))


DRAWN = SHOWN_ELSEWHERE.union(*(chart.columns for chart in SMALL_CHARTS))
