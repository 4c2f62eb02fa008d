"""A whole run, read once: what comparisons, reports and notebooks need of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chomp.config.spec import flatten
from chomp.errors import ChompError, ConfigError, RunDirError
from chomp.record.columns import Columns
from chomp.record.event_log import read_events
from chomp.record.events import Compiled, RolledBack, RunStarted
from chomp.record.fold import fold
from chomp.record.formatting import one_line
from chomp.record.manifest import list_checkpoints
from chomp.record.row_blocks import read_rows
from chomp.record.run_view import RunView, with_rows
from chomp.record.rundir import RunDir, open_run
from chomp.record.summary import RunSummary, summarize

X_AXES = ("step", "tokens", "time", "flops")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run with all its rows.

    Attributes:
        view: its events folded, with all rows; those of a fork begin with its origin's up to `forked_at`.
        accepted: settings that an attempt changed with `--accept`.
        rollbacks: the steps that the engine went back to, to continue from there with other text.
        flops_per_token: training FLOPs per token read, None where no event says it.
    """

    run: RunDir
    summary: RunSummary
    view: RunView
    accepted: frozenset[str]
    rollbacks: tuple[int, ...]
    flops_per_token: float | None

    @property
    def name(self) -> str:
        """The name of its directory, on one line."""
        return one_line(self.summary.name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings and derived numbers by dotted path."""
        return self.summary.settings

    @property
    def forked_at(self) -> int:
        """The step up to which the rows are its origin's; 0 for a run that is no fork."""
        return self.view.forked_at

    @cached_property
    def own_rows(self) -> Columns:
        """The rows that its own engines wrote."""
        rows = self.view.rows
        first = int(np.searchsorted(rows["step"], self.forked_at, side="right"))
        if not first:
            return rows
        return Columns.empty().extend({name: rows[name][first:] for name in rows.names})

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Fingerprint of the text and digest of the tokenizer by dotted path, as its newest checkpoint has them."""
        for info in reversed(list_checkpoints(self.run.checkpoints)):
            identity = info.meta.get("identity")
            if isinstance(identity, dict) and "data_fingerprint" in identity:
                return flatten({name: identity.get(name) for name in ("data_fingerprint", "tokenizer_digest")})
        return {}

    def x_of(self, axis: str, steps: np.ndarray) -> np.ndarray:
        """Steps as another measure of progress: `tokens` (loss tokens), `time` (seconds in training steps), `flops`.

        NaN where the record does not say it.

        Raises:
            ConfigError: there is no such axis.
        """
        if axis not in X_AXES:
            raise ConfigError(f"there is no axis {axis!r}; a run has {', '.join(X_AXES)}")
        if axis == "step":
            return np.asarray(steps, np.float64)
        if axis == "flops":
            per_step = float(self.view.started.tokens_per_step) if self.view.started is not None else 0.0
            per_token = self.flops_per_token or np.nan
            return np.asarray(steps, np.float64) * (per_step * per_token or np.nan)
        rows = self.view.rows
        if not len(rows):
            return np.full(len(steps), np.nan)
        reached = rows["step"]
        if axis == "tokens":
            values = rows["tokens_seen"]
        else:
            values = np.cumsum(np.nan_to_num(rows["step_time_s"]).astype(np.float64) * np.diff(reached, prepend=0.0))
        known = ~np.isnan(values)
        if not known.any():
            return np.full(len(steps), np.nan)
        return np.interp(steps, np.append(0.0, reached[known]), np.append(0.0, values[known]))


def load_record(path: Path) -> RunRecord:
    """Read the run at `path`.

    Raises:
        RunDirError: there is no run, its settings are damaged, or a file cannot be read.
    """
    try:
        return _read_record(path)
    except OSError as error:
        raise RunDirError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error


def load_records(paths: Iterable[Path]) -> tuple[list[RunRecord], dict[Path, ChompError]]:
    """The runs that can be read, in their order, and why each other one cannot.

    Raises:
        ChompError: of the first run, if none can be read.
    """
    records, unread = list[RunRecord](), dict[Path, ChompError]()
    for path in paths:
        try:
            records.append(load_record(path))
        except ChompError as error:
            unread[path] = error
    if unread and not records:
        raise next(iter(unread.values()))
    return records, unread


def _read_record(path: Path) -> RunRecord:
    run = open_run(path)
    events = read_events(run.events)
    view = with_rows(fold(RunView(), events), read_rows(run.metrics))
    return RunRecord(
        run=run,
        summary=summarize(path),
        view=view,
        accepted=frozenset(name for one in events if isinstance(one, RunStarted) for name in one.accepted),
        rollbacks=tuple(one.step for one in events if isinstance(one, RolledBack)),
        flops_per_token=next(
            (one.flops_per_token for one in reversed(events) if isinstance(one, Compiled) and one.flops_per_token), None
        ),
    )
