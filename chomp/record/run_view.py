"""All that a screen knows of a run: a pure fold of its events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chomp.record.columns import Columns, block_of
from chomp.record.events import (
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    Event,
    NonFinite,
    Phase,
    RolledBack,
    RunEnded,
    RunStarted,
    Sampled,
    Step,
    Unknown,
    Warned,
    natural,
    number,
)

EVAL_COLUMNS = ("step", "t", "tokens_seen", "loss", "bpb", "perplexity", "seconds")

# The newest of each are kept.
MOST_SAMPLES = 500
MOST_WARNINGS = 200
MOST_NONFINITE = 200
MOST_ANSWERS = 100
MOST_CHECKPOINTS = 500
MOST_SAMPLE_CHARACTERS = 4_000_000
MOST_KINDS = 50
# More rows than this do not wait.
MOST_WAITING_ROWS = 20_000
LONGEST_KIND = 60

# What the engine calls the time that it spends in a phase.
CATEGORY_OF_PHASE = {
    "data": "startup", "compile": "compile", "train": "train", "eval": "eval", "sample": "sample", "save": "save",
    "paused": "paused",
}  # fmt: skip
# What an engine does between two steps and, when asked, in the middle of a pause.
JOBS = ("eval", "sample", "save")


@dataclass(frozen=True)
class CheckpointView:
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
    """A run as its events tell it, newest attempt last; `chomp.record.run_rows` adds metrics rows.

    Event logs of version 1 hold rows as well. Rows and evaluations beyond the step that a later
    attempt resumed from are gone, as in `metrics.jsonl`; steps in `rows` and `evals` ascend strictly.

    Attributes:
        first_started_at: Unix time of the first attempt's `run_started`.
        forked_at: step at which the first attempt began, which is beyond 0 in a fork: rows up to it are its origin's.
        phase: what the engine does now; None before its first word and after its last.
        is_paused: whether the engine waits to be told to go on, even if it evaluates, samples or saves meanwhile.
        opening: an attempt that reads its data and has not begun yet: it may be refused, and the run stays as it was.
        refused: the end of an attempt that never began, if that is the newest thing that happened to a begun run.
        samples, warnings, nonfinite, rollbacks, answers: the newest of each; the counts are of all.
        ended: how the newest attempt that began ended, None while it runs or if it was killed.
        spent: seconds by category of all that is over, see `budget`.
        is_accounted: whether the engine's own account is in `spent`; that of a fork goes on from its origin's.
        last_t: Unix time of the newest event.
    """

    rows: Columns = field(default_factory=Columns.empty)
    evals: Columns = field(default_factory=lambda: Columns.empty(EVAL_COLUMNS))
    started: RunStarted | None = None
    attempts: int = 0
    first_started_at: float | None = None
    forked_at: int = 0
    phase: Phase | None = None
    is_paused: bool = False
    opening: Phase | None = None
    refused: RunEnded | None = None
    compiled: Compiled | None = None
    samples: tuple[Sampled, ...] = ()
    checkpoints: Mapping[int, CheckpointView] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    warning_count: int = 0
    nonfinite: tuple[NonFinite, ...] = ()
    nonfinite_count: int = 0
    rollbacks: tuple[RolledBack, ...] = ()
    answers: tuple[Acknowledged, ...] = ()
    ended: RunEnded | None = None
    step: int = 0
    total_steps: int | None = None
    tokens_seen: int = 0
    last_t: float | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    is_accounted: bool = False
    unknown_kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> dict[str, float]:
        """Seconds by category (those of `run_ended`) over all attempts, as well as the events tell, up to `last_t`.

        For an attempt that ended they are its own account. Of one that lives or was killed they
        are read off its phases: what it waited for data is then counted as training, and what a
        resume made `lost` is taken from training as the seconds since its checkpoint was begun.
        """
        return self.spent_until(self.last_t)

    def spent_until(self, now: float | None) -> dict[str, float]:
        """The same with the running phase counted up to Unix time `now`."""
        totals = dict(self.spent)
        if self.phase is not None and now is not None:
            _add(totals, CATEGORY_OF_PHASE.get(self.phase.name), now - self.phase.t)
        return totals


def _add(totals: dict[str, float], category: str | None, seconds: float) -> None:
    """Count seconds; a clock that was set back, or no clock, counts nothing."""
    if category is not None and seconds > 0:
        totals[category] = totals.get(category, 0.0) + seconds


def fold(view: RunView, event: Event) -> RunView:
    """The view after one more event."""
    return fold_many(view, (event,))


def fold_many(view: RunView, events: Iterable[Event]) -> RunView:
    """The same as folding one after the other, faster."""
    folding = Folding(view)
    for event in events:
        folding.add(event)
    return folding.view()


class Folding:
    """A view under way: many events are added, then one new view is taken."""

    def __init__(self, view: RunView):
        self._fields: dict[str, Any] = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
        self._waiting: list[dict[str, Any]] = []
        self._waiting_evals: list[dict[str, float]] = []
        self._owned: set[str] = set()

    def view(self) -> RunView:
        """The view so far; more events may be added after it."""
        self._settle_rows()
        self._settle_evals()
        self._owned.clear()
        return RunView(**self._fields)

    def add(self, event: Event) -> None:
        """Add one event."""
        if not isinstance(event, Step):
            self._handle(event)
        elif natural(event.row.get("step")) is None:
            self._count_unknown(event.kind)
        else:
            self._waiting.append({**event.row, "t": event.t})
            if len(self._waiting) > MOST_WAITING_ROWS:
                self._settle_rows()
        self._see(event.t)

    def _see(self, t: float) -> None:
        if t > 0:
            self._fields["last_t"] = t

    def _settle_rows(self) -> None:
        """Put the waiting rows in their place."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        fields, block = self._fields, block_of(waiting)
        fields["rows"] = fields["rows"].append(block)
        fields["step"] = max(fields["step"], int(block["step"].max()))
        tokens = block.get("tokens_seen", np.empty(0))
        if (told := tokens[~np.isnan(tokens)]).size:
            fields["tokens_seen"] = int(told[-1])

    def _handle(self, event: Event) -> None:
        match event:
            case Phase():
                self._begin_phase(event)
            case RunStarted():
                self._start(event)
            case RunEnded():
                self._end(event)
            case Evaluated():
                self._add_eval(event)
            case Checkpoint():
                self._add_checkpoint(event)
            case Compiled():
                self._fields["compiled"] = event
            case Sampled():
                self._keep("samples", event, MOST_SAMPLES)
                self._fields["samples"] = _within(self._fields["samples"], MOST_SAMPLE_CHARACTERS)
            case Warned():
                self._keep("warnings", event, MOST_WARNINGS)
                self._fields["warning_count"] += 1
            case NonFinite():
                self._keep("nonfinite", event, MOST_NONFINITE)
                self._fields["nonfinite_count"] += 1
            case RolledBack():
                self._roll_back(event)
            case Acknowledged():
                self._keep("answers", event, MOST_ANSWERS)
                if event.ok and event.command in ("pause", "resume"):
                    self._fields["is_paused"] = event.command == "pause"
            case Unknown():
                self._count_unknown(event.name)

    def _keep(self, name: str, event: Event, most: int) -> None:
        self._fields[name] = (*self._fields[name], event)[-most:]

    def _own(self, name: str) -> dict[Any, Any]:
        """A mapping field that may be changed because no view holds it yet."""
        if name not in self._owned:
            self._fields[name] = dict(self._fields[name])
            self._owned.add(name)
        return self._fields[name]

    def _count_unknown(self, name: str) -> None:
        kinds, name = self._own("unknown_kinds"), name[:LONGEST_KIND]
        if name not in kinds and len(kinds) >= MOST_KINDS:
            name = "…"
        kinds[name] = kinds.get(name, 0) + 1

    def _begin_phase(self, event: Phase) -> None:
        fields = self._fields
        if event.name == "data":
            # A new engine's first event: the phase before it lasted until its own engine's last event or row.
            told = [t for t in (fields["last_t"], event.last_row_t) if t is not None]
            self._close_phase(max(told, default=None))
            fields["opening"], fields["refused"] = event, None
        else:
            self._close_phase(event.t)
        fields["phase"] = event
        fields["is_paused"] = event.name == "paused" or (fields["is_paused"] and event.name in JOBS)
        fields["step"] = max(fields["step"], event.step)

    def _close_phase(self, t: float | None) -> None:
        phase = self._fields["phase"]
        if phase is not None and t is not None:
            _add(self._own("spent"), CATEGORY_OF_PHASE.get(phase.name), t - phase.t)
        self._fields["phase"] = None

    def _start(self, event: RunStarted) -> None:
        self._settle_rows()
        fields = self._fields
        if fields["opening"] is None:
            self._close_phase(fields["last_t"])
        kept = -1 if event.resumed_from is None else event.resumed_from
        self._count_lost(kept, fields["opening"].last_row_t if fields["opening"] is not None else None)
        if fields["started"] is None:
            fields["forked_at"] = max(kept, 0)
        self._go_back_to(kept)
        fields.update(started=event, ended=None, opening=None, refused=None, compiled=None, is_paused=False)
        fields["attempts"] = event.attempt or fields["attempts"] + 1
        fields["step"], fields["tokens_seen"] = max(kept, 0), event.tokens_seen
        fields["total_steps"] = event.total_steps or None
        if fields["first_started_at"] is None and event.t > 0:
            fields["first_started_at"] = event.t

    def _count_lost(self, kept: int, reached: float | None) -> None:
        """What was trained up to Unix time `reached`, beyond the step that the run goes back to, was lost."""
        rows: Columns = self._fields["rows"]
        started, checkpoint = self._fields["started"], self._fields["checkpoints"].get(kept)
        stays = rows.cut(kept)
        if len(stays) < len(rows):
            reached = rows.last("t")
        if started is None or reached is None:
            return
        since = stays.last("t") or started.t
        if checkpoint is not None:
            since = checkpoint.t - (checkpoint.seconds or 0.0)
        spent = self._own("spent")
        lost = min(max(0.0, reached - since), spent.get("train", 0.0))
        if lost > 0:
            spent["train"] -= lost
            _add(spent, "lost", lost)

    def _roll_back(self, event: RolledBack) -> None:
        """The same attempt went back; that it had to is part of its story."""
        self._settle_rows()
        fields = self._fields
        nonfinite = {name: fields[name] for name in ("nonfinite", "nonfinite_count", "rollbacks")}
        phase = fields["phase"]
        self._close_phase(event.t)
        if phase is not None:
            fields["phase"] = Phase(name=phase.name, step=event.step, t=event.t)
        self._count_lost(event.step, event.t)
        self._go_back_to(event.step)
        fields.update(nonfinite)
        self._keep("rollbacks", event, MOST_NONFINITE)
        fields["step"] = event.step
        fields["tokens_seen"] = int(fields["rows"].last("tokens_seen") or 0)

    def _go_back_to(self, step: int) -> None:
        self._settle_evals()
        fields = self._fields
        fields["rows"], fields["evals"] = fields["rows"].cut(step), fields["evals"].cut(step)
        fields["samples"] = tuple(sample for sample in fields["samples"] if sample.step <= step)
        stand = tuple(one for one in fields["nonfinite"] if one.step <= step)
        fields["nonfinite_count"] -= len(fields["nonfinite"]) - len(stand)
        fields["nonfinite"] = stand
        fields["rollbacks"] = tuple(one for one in fields["rollbacks"] if one.from_step <= step)
        checkpoints = self._own("checkpoints")
        for beyond in [saved for saved in checkpoints if saved > step]:
            del checkpoints[beyond]

    def _end(self, event: RunEnded) -> None:
        fields = self._fields
        if fields["started"] is not None and self._never_began(event):
            fields.update(refused=event, opening=None, phase=None)
            return
        self._close_phase(event.t)
        fields.update(ended=event, opening=None, refused=None, is_paused=False)
        fields["step"] = max(fields["step"], event.step)
        if event.time_budget_seconds:
            fields["spent"], fields["is_accounted"] = dict(event.time_budget_seconds), True
            self._owned.add("spent")

    def _never_began(self, event: RunEnded) -> bool:
        """Whether this is the end of an attempt that was refused before it began."""
        fields = self._fields
        if fields["opening"] is not None or fields["ended"] is not None:
            return True
        # An engine that finds no device says only this; one that began ends at, or one before, a step it has told of.
        return event.step < (fields["started"].resumed_from or 0)

    def _add_eval(self, event: Evaluated) -> None:
        values = {
            "step": event.step, "t": event.t, "tokens_seen": self._tokens_at(event.step), "loss": event.loss,
            "bpb": math.nan if event.bpb is None else event.bpb, "perplexity": event.perplexity,
            "seconds": event.seconds,
        }  # fmt: skip
        self._waiting_evals.append(values)
        self._fields["step"] = max(self._fields["step"], event.step)

    def _settle_evals(self) -> None:
        """Put the waiting evaluations in their place: singly, a thousand of them take as long as ten thousand rows."""
        waiting, self._waiting_evals = self._waiting_evals, []
        if waiting:
            block = {name: np.array([values[name] for values in waiting], np.float64) for name in waiting[0]}
            self._fields["evals"] = self._fields["evals"].append(block)

    def _tokens_at(self, step: int) -> float:
        """Loss tokens up to `step`, at the pace of the rows so far: an evaluation is told of before its step's row."""
        reached, tokens = self._newest("step"), self._newest("tokens_seen")
        if reached and tokens is not None:
            return tokens * step / reached
        started = self._fields["started"]
        return float(step * started.tokens_per_step) if started is not None else math.nan

    def _newest(self, name: str) -> float | None:
        """What the newest row has, be it in its place or waiting."""
        if not self._waiting:
            return self._fields["rows"].last(name)
        value = number(self._waiting[-1].get(name))
        return None if value != value else value

    def _add_checkpoint(self, event: Checkpoint) -> None:
        checkpoints = self._own("checkpoints")
        earlier = checkpoints.pop(event.step, None)
        size = event.bytes if event.bytes is not None or earlier is None else earlier.bytes
        checkpoints[event.step] = CheckpointView(
            event.step, event.state, event.t, size, event.seconds, event.blocked_seconds, event.reason
        )
        if len(checkpoints) > MOST_CHECKPOINTS:
            gone = next((step for step, one in checkpoints.items() if one.state == "deleted"), next(iter(checkpoints)))
            del checkpoints[gone]


def _within(samples: tuple[Sampled, ...], characters: int) -> tuple[Sampled, ...]:
    """The newest samples that together have at most so many characters, and the newest in any case."""
    total = sum(len(sample.text) + len(sample.prompt) for sample in samples)
    while total > characters and len(samples) > 1:
        total -= len(samples[0].text) + len(samples[0].prompt)
        samples = samples[1:]
    return samples
