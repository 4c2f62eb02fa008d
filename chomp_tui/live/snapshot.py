"""The frozen value that the run screen draws, made for each update and each second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from chomp.record.run_view import CheckpointStatus, RunView
from chomp.record.scores import Score, newest
from chomp.record.status import Status
from chomp_tui.live.alerts import Alert
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.run_facts import RunFacts
from chomp_tui.live.x_axes import nearest, x_values

MISSING = "–"


@dataclass(frozen=True)
class RunSnapshot:
    """A run at one moment.

    Attributes:
        now: Unix time.
        smoothed: the smoothed training loss, a value per row.
        smoothing: steps that it averages over; 0 for none.
        cross: x of the charts' crosshair.
        log_end: the last lines of the log.
        launched_at: Unix time at which the engine's process was started, None where it is not known.
    """

    update: RunUpdate
    now: float
    status: Status
    alerts: tuple[Alert, ...] = ()
    eta_seconds: float | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    smoothed: np.ndarray = field(default_factory=lambda: np.empty(0))
    smoothing: int = 0
    x_axis: str = "step"
    cross: float | None = None
    log_end: tuple[str, ...] = ()
    launched_at: float | None = None

    @property
    def view(self) -> RunView:
        return self.update.view

    @cached_property
    def counted_until(self) -> float | None:
        """Unix time up to which time is counted: an engine that says nothing new changes no number each second.

        Training counts up to its newest record, a pause in whole minutes, and what has no records up to now.
        """
        view = self.view
        if not self.status.is_live or view.phase is None or (view.phase.name == "train" and len(view.rows)):
            return view.last_t
        if view.phase.name == "paused":
            return view.phase.t + max(0.0, self.now - view.phase.t) // 60 * 60
        return self.now

    @cached_property
    def elapsed_seconds(self) -> float | None:
        """From the begin of the newest attempt up to `counted_until`."""
        view = self.view
        if view.started is None or view.started.t <= 0:
            return None
        return max(0.0, (self.counted_until or self.now) - view.started.t)

    @cached_property
    def age_seconds(self) -> float | None:
        """Since the newest event."""
        return None if self.view.last_t is None else max(0.0, self.now - self.view.last_t)

    @cached_property
    def checkpoints(self) -> Mapping[int, CheckpointStatus]:
        """By step: those in the events, and of a fork the one of its origin, which no event names."""
        known, origin = self.view.checkpoints, self.facts.origin
        if origin is None or origin.step in known:
            return known
        return {origin.step: CheckpointStatus(origin.step, "origin", origin.forked_at), **known}

    @property
    def saved(self) -> dict[int, CheckpointStatus]:
        """Those that a run can resume from."""
        return {step: one for step, one in self.checkpoints.items() if one.state in ("committed", "origin")}

    @cached_property
    def pointed(self) -> int | None:
        """The row nearest to the crosshair; None without one."""
        x = x_values(self.view.rows, self.view, self.x_axis)
        return None if self.cross is None or not len(x) else nearest(x, self.cross)

    def shown(self, column: str) -> float | None:
        """The value of a column at the crosshair, or the newest."""
        if self.pointed is None:
            return self.newest(column)
        return float(self.view.rows[column][self.pointed])

    def shown_eval(self, column: str) -> float | None:
        """The value of the evaluation nearest to the crosshair, or of the newest."""
        evals = self.view.evals
        if self.cross is None or not len(evals):
            return evals.last(column)
        return float(evals[column][nearest(x_values(evals, self.view, self.x_axis), self.cross)])

    def shown_scores(self) -> dict[str, Score]:
        """The scores of sets and tasks nearest to the crosshair, or the newest, by name."""
        return newest(self.view.scores, None if self.pointed is None else self.view.rows["step"][self.pointed])

    def newest(self, column: str) -> float | None:
        """The newest value of a column of rows; None where it is missing."""
        return self.view.rows.last(column)


def said(value: float | None, form: Callable[[float], str]) -> str:
    """A number in words, or a dash where there is none."""
    return MISSING if value is None or not np.isfinite(value) else form(value)
