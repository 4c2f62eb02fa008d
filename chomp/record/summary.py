"""One run as a list shows it: its view, its status, its newest rows; quick for runs of any size.

After the first time only what was added to the event log is read. Rows, of which a long run
has many, are read from the end of `metrics.jsonl` alone.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from chomp.errors import ChompError
from chomp.record.codec import decode
from chomp.record.columns import Columns, block_of
from chomp.record.events import RolledBack, RunStarted
from chomp.record.fold import Folding, fold
from chomp.record.formatting import device_words
from chomp.record.json_text import number, parse_json
from chomp.record.line_files import LineReader
from chomp.record.manifest import checkpoint_steps
from chomp.record.notes import Notes, read_notes
from chomp.record.origin import Origin, read_origin
from chomp.record.run_view import RunView, with_rows
from chomp.record.rundir import RunDir, named_run
from chomp.record.status import RECENT_ROWS, Liveness, Status, read_liveness, status
from chomp.record.tail import last_rows, read_tail, thinned_losses

CURVE_POINTS = 48
SAMPLE_BYTES = 1 << 16
SAMPLE_CHARACTERS = 1200
# Lines that are not decoded: samples, which may be long, and the many rows in event logs of version 1.
_SKIPPED = re.compile(rb'\{"v":\d+,"t":[\d.]+,"kind":"(step|sample)"')


@dataclass(frozen=True)
class BestEval:
    """The evaluation of a run with the least loss.

    Attributes:
        loss: nats per token.
        bpb: bits per UTF-8 byte; None where the tokenizer's bytes are not known.
    """

    step: int
    loss: float
    bpb: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """One run in a line.

    Attributes:
        loss: the newest training loss, nats per token.
        eval_loss: the newest evaluation's.
        best: the best evaluation; of a fork, of its own evaluations.
        ema: the best evaluation of the moving average of the parameters.
        ema_loss: the newest such evaluation's loss.
        weights: "ema" in the row of that average, see `leaderboard`; else empty.
        tokens_seen: loss tokens up to `step`.
        last_t: Unix time of the newest event or row.
        started_t: Unix time of the newest attempt's start.
        pid: of the engine that runs on this machine.
        attempts: engines that started this run.
        device: in words; `devices` is how many, and `mesh` the sizes of its axes, None for one device.
        losses: training losses from the first to the last row, thinned out.
        sample: the newest sample, its prompt included.
        bytes: of all files, once they have been added up.
        metrics: the numbers of the newest metrics row, by name.
        settings: every setting of `config_resolved.json`, by dotted path; empty where it cannot be read.
    """

    name: str
    path: Path
    status: Status
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    best: BestEval | None = None
    ema: BestEval | None = None
    ema_loss: float | None = None
    weights: str = ""
    tokens_seen: int = 0
    last_t: float = 0.0
    started_t: float = 0.0
    pid: int | None = None
    attempts: int = 0
    device: str = ""
    devices: int | None = None
    mesh: Mapping[str, Any] | None = None
    parameters: int | None = None
    checkpoints: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    sample: str = ""
    origin: Origin | None = None
    bytes: int | None = None
    notes: Notes = field(default_factory=Notes)
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether an engine on this machine holds the run."""
        return self.pid is not None

    @property
    def key(self) -> str:
        """What tells its row from all others of a list."""
        return f"{self.path}\0{self.weights}" if self.weights else str(self.path)

    def age_seconds(self, now: float) -> float:
        """Seconds since the newest event or row."""
        return max(0.0, now - self.last_t)


class SummaryReader:
    """Summaries of one run; each reads only what was added to the event log since the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = LineReader(RunDir(path).events)
        # The events, without the rows of a log of version 1; the line of the newest of those rows.
        self._events = RunView()
        self._row_line: bytes | None = None
        self._view = RunView()
        self._stamps: tuple[Stamp, ...] = ()
        self._settings_stamp: Stamp | tuple[()] = ()
        self._named = RunDir(path)
        self._settings: Mapping[str, Any] = {}
        self._details: dict[str, Any] = {}
        self._last: RunSummary | None = None

    def read(self) -> RunSummary:
        """The run as it is now; the same object as before if nothing has changed.

        Raises:
            OSError: its event log cannot be read.
        """
        run = RunDir(self.path)
        # Taken before reading: what is added meanwhile is seen the next time.
        files = (run.events, self._named.metrics, run.checkpoints, run.config_resolved, run.origin, run.notes)
        liveness = read_liveness(run)
        is_live = liveness.pid is not None
        stamps = (*map(stamp, files), (is_live,))
        if stamps != self._stamps:
            self._catch_up()
            self._learn_settings(run)
            # The pace of rows matters only where more are to come.
            self._view, metrics = self._with_newest_rows(RECENT_ROWS if is_live else 1)
            found = {"best": best_eval(self._view), "ema": best_eval(self._view, "ema_")}
            self._details = {**_details(self._named), "metrics": metrics, **found}
            self._stamps = stamps
        summary = self._summary(run, liveness)
        if self._last is None or summary != self._last:
            self._last = summary
        return self._last

    def _summary(self, run: RunDir, liveness: Liveness) -> RunSummary:
        view = self._view
        started, losses = view.started, self._details["losses"]
        return RunSummary(
            name=run.name,
            path=self.path,
            status=status(view, liveness, time.time()),
            step=view.step,
            total_steps=view.total_steps,
            loss=losses[-1] if losses else None,
            eval_loss=view.evals.last("loss"),
            ema_loss=view.evals.last("ema_loss"),
            tokens_seen=view.tokens_seen,
            last_t=view.last_t or self.path.stat().st_mtime,
            started_t=started.t if started else 0.0,
            pid=liveness.pid,
            attempts=view.attempts,
            device=device_words(started.device) if started else "",
            devices=_whole(started.device.get("count")) if started else None,
            mesh=_mapping(started.device.get("mesh")) if started else None,
            parameters=(started.parameters or None) if started else None,
            settings=self._settings,
            **self._details,
        )

    def _learn_settings(self, run: RunDir) -> None:
        """Read the settings again if their file has changed; those that cannot be read name no files."""
        from chomp.config.spec import flatten

        now = stamp(run.config_resolved)
        if now == self._settings_stamp:
            return
        self._settings_stamp, self._named, self._settings = now, run, {}
        if now is None:
            return
        try:
            table = run.load_resolved()
        except ChompError:
            return
        logging = table.get("logging")
        self._named = named_run(run.path, logging) if isinstance(logging, dict) else run
        self._settings = flatten(table)

    def _catch_up(self) -> None:
        """Fold the events that were added."""
        lines = self._lines.read()
        first = next(lines, None)
        if self._lines.restarted:
            self._events, self._row_line = RunView(), None
        if first is None:
            return
        folding = Folding(self._events)
        for line in chain([first], lines):
            skipped = _SKIPPED.match(line)
            if skipped is not None:
                self._row_line = line if skipped[1] == b"step" else self._row_line
                continue
            event = decode(line)
            if isinstance(event, (RunStarted, RolledBack)):
                self._row_line = None
            if event is not None:
                folding.add(event)
        self._events = folding.view()

    def _with_newest_rows(self, most: int) -> tuple[RunView, Mapping[str, float]]:
        """The view with so many rows, which say step and pace, and the numbers of the newest row."""
        view = self._events
        if self._row_line is not None and (row := decode(self._row_line)) is not None:
            view = replace(fold(view, [row]), last_t=max(view.last_t or 0.0, row.t))
        # Rows without a time were written by a version whose event log has them, too.
        rows = [row for row in last_rows(self._named.metrics, most) if number(row.get("t")) > 0]
        newest = {name: number(value) for name, value in rows[-1].items()} if rows else {}
        numbers = {name: value for name, value in newest.items() if not math.isnan(value)}
        return with_rows(view, Columns.empty().append(block_of(rows))), numbers


def summarize(path: Path) -> RunSummary:
    """The summary of the run at `path`.

    Raises:
        OSError: its event log cannot be read.
    """
    return SummaryReader(path).read()


Stamp = tuple[int, ...] | None


def stamp(path: Path) -> Stamp:
    """Changes when the file or folder does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def leaderboard(runs: Iterable[RunSummary]) -> Iterator[RunSummary]:
    """The rows of runs, each followed by that of the moving average of its parameters, if that was evaluated."""
    for run in runs:
        yield run
        if run.ema is not None:
            name = f"{run.name} · ema"
            yield replace(run, name=name, weights="ema", best=run.ema, eval_loss=run.ema_loss, ema=None, sample="")


def best_eval(view: RunView, prefix: str = "") -> BestEval | None:
    """The evaluation with the least loss; None where no evaluation has a finite one.

    Args:
        prefix: of the columns, `ema_` for the moving average of the parameters.
    """
    losses = view.evals[f"{prefix}loss"]
    if not len(losses) or np.isnan(losses).all():
        return None
    place = int(np.nanargmin(losses))
    bpb = view.evals[f"{prefix}bpb"][place]
    # With the fewest digits that are exact in the column's own precision.
    return BestEval(
        int(view.evals["step"][place]), float(str(losses[place])), None if np.isnan(bpb) else float(str(bpb))
    )


def _details(run: RunDir) -> dict[str, Any]:
    """What other files than the event log say."""
    return {
        "checkpoints": tuple(checkpoint_steps(run.checkpoints)),
        "losses": thinned_losses(run.metrics, CURVE_POINTS) or thinned_losses(run.events, CURVE_POINTS),
        "sample": _last_sample(run.samples),
        "origin": read_origin(run),
        "notes": read_notes(run),
    }


def _last_sample(path: Path) -> str:
    try:
        _, lines = read_tail(path, SAMPLE_BYTES)
        row = parse_json(lines.splitlines()[-1])
        return f"{row['prompt']}{row['text']}"[:SAMPLE_CHARACTERS]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None
