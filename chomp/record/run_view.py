"""All that a screen knows of a run: its events, folded (`chomp.record.fold`), and its metrics rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from chomp.record import events as ev
from chomp.record.columns import Columns
from chomp.record.scores import Score

EVAL_COLUMNS = ("step", "t", "loss", "bpb", "perplexity", "seconds", "ema_loss", "ema_bpb")

# The category of the time budget that a phase belongs to.
CATEGORY_OF_PHASE = {
    "data": "startup", "compile": "compile", "train": "train", "eval": "eval", "sample": "sample", "save": "save",
    "paused": "paused",
}  # fmt: skip
# What an engine does between two steps and, on a command, during a pause.
JOBS = ("eval", "sample", "save")


@dataclass(frozen=True)
class CheckpointStatus:
    """What is known of one checkpoint; `state` as in the `checkpoint` event, or `origin` where a fork began with it."""

    step: int
    state: str
    t: float
    bytes: int | None = None
    seconds: float | None = None
    blocked_seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class RunView:
    """A run as its events say, newest attempt last; `with_rows` adds metrics rows, which only logs of version 1 hold.

    Rows and evaluations beyond the step that a later attempt resumed from are gone, as in `metrics.jsonl`; steps in
    `rows` and `evals` ascend strictly.

    Attributes:
        first_started_at: Unix time of the first attempt's `run_started`.
        forked_at: step at which the first attempt began, which is beyond 0 in a fork: rows up to it are its parent's.
        phase: what the engine does now; None before its first event and after its last.
        progress: how far long work of the phase is; None where nothing is told.
        is_paused: whether the engine waits for `resume`, even if it evaluates, samples or saves meanwhile.
        opened: the phases of the newest attempt up to its first step, in order.
        opening: an attempt that reads its data and has not begun yet: it may be refused, and the run stays as it was.
        refused: the end of an attempt that never began, if it is the newest event of a run that has begun.
        scores: of evaluation sets and tasks, the newest and at least one of each name.
        samples, warnings, nonfinite, spikes, rollbacks, answers: the newest of each; the counts are of all.
        profile: the newest.
        ended: how the newest attempt that began ended, None while it runs or if it was killed.
        spent: seconds by category of all that is over, see `budget`.
        is_accounted: whether the engine's own account is in `spent`; that of a fork includes its parent's.
        last_t: Unix time of the newest event.
    """

    rows: Columns = field(default_factory=Columns.empty)
    evals: Columns = field(default_factory=lambda: Columns.empty(EVAL_COLUMNS))
    started: ev.RunStarted | None = None
    attempts: int = 0
    first_started_at: float | None = None
    forked_at: int = 0
    phase: ev.Phase | None = None
    progress: ev.Progress | None = None
    is_paused: bool = False
    opened: tuple[ev.Phase, ...] = ()
    opening: ev.Phase | None = None
    refused: ev.RunEnded | None = None
    compiled: ev.Compiled | None = None
    scores: tuple[Score, ...] = ()
    samples: tuple[ev.Sampled, ...] = ()
    checkpoints: Mapping[int, CheckpointStatus] = field(default_factory=dict)
    warnings: tuple[ev.Warned, ...] = ()
    warning_count: int = 0
    nonfinite: tuple[ev.NonFinite, ...] = ()
    nonfinite_count: int = 0
    spikes: tuple[ev.Spike, ...] = ()
    spike_count: int = 0
    rollbacks: tuple[ev.RolledBack, ...] = ()
    answers: tuple[ev.Acknowledged, ...] = ()
    profile: ev.Profiled | None = None
    ended: ev.RunEnded | None = None
    step: int = 0
    total_steps: int | None = None
    tokens_seen: int = 0
    last_t: float | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    is_accounted: bool = False
    unknown_kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> dict[str, float]:
        """Seconds by category (those of `run_ended`) over all attempts, as far as events show, up to `last_t`.

        For an attempt that ended they are its own account. For one that lives or was
        killed they are computed from its phases: waiting for data then counts as training, and `lost`
        is the training since the checkpoint that a resume continued from.
        """
        return self.spent_until(self.last_t)

    def spent_until(self, now: float | None) -> dict[str, float]:
        """The same with the running phase counted up to Unix time `now`."""
        totals = dict(self.spent)
        if self.phase is not None and now is not None:
            add_seconds(totals, CATEGORY_OF_PHASE.get(self.phase.name), now - self.phase.t)
        return totals


def add_seconds(totals: dict[str, float], category: str | None, seconds: float) -> None:
    """Count seconds; a clock that was set back, or no clock, counts nothing."""
    if category is not None and seconds > 0:
        totals[category] = totals.get(category, 0.0) + seconds


def with_rows(view: RunView, rows: Columns) -> RunView:
    """The view with the rows of `metrics.jsonl`, which come after those that an event log of version 1 holds."""
    if view.started is None:
        return view
    rows = _without_void(view, view.started, rows)
    if not len(rows):
        return view
    if len(view.rows):
        rows = view.rows.append({name: rows[name] for name in rows.names if rows.has_numbers(name)})
    return dataclasses.replace(
        view,
        rows=rows,
        step=max(view.step, int(rows["step"][-1])),
        tokens_seen=max(view.tokens_seen, int(rows.last("tokens_seen") or 0)),
        last_t=max(view.last_t or 0.0, rows.last("t") or 0.0),
    )


def _without_void(view: RunView, started: ev.RunStarted, rows: Columns) -> Columns:
    """The rows without those that the engine is about to remove: it writes the event of going back first."""
    went_back = [(started.t, started.resumed_from or 0), *((one.t, one.step) for one in view.rollbacks[-1:])]
    t, step = max(went_back)
    if t != view.last_t:
        return rows
    valid = rows.cut(step)
    return valid if len(valid) < len(rows) and rows["t"][len(valid)] < t else rows
