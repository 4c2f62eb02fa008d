"""From events to a `RunView`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from chomp.record import events as ev
from chomp.record.columns import Columns, block_of
from chomp.record.json_text import natural, number
from chomp.record.run_view import CATEGORY_OF_PHASE, EVAL_COLUMNS, JOBS, CheckpointStatus, RunView, add_seconds
from chomp.record.scores import kept

# The newest of each are kept.
MOST_SAMPLES = 500
MOST_OPENED = 20
MOST_WARNINGS = 200
MOST_NONFINITE = 200
MOST_ANSWERS = 100
MOST_CHECKPOINTS = 500
MOST_SAMPLE_CHARACTERS = 4_000_000
MOST_KINDS = 50
# More rows than this are appended at once.
MOST_WAITING_ROWS = 20_000
LONGEST_KIND = 60


def fold(view: RunView, events: Iterable[ev.Event]) -> RunView:
    """The view after these events."""
    folding = Folding(view)
    for event in events:
        folding.add(event)
    return folding.view()


class Folding:
    """A view in the making: many events are added, then one new view is taken."""

    def __init__(self, view: RunView):
        self._fields: dict[str, Any] = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
        self._waiting: dict[str, list[dict[str, Any]]] = {"rows": [], "evals": []}
        self._owned: set[str] = set()

    def view(self) -> RunView:
        """The view so far; more events may be added after it."""
        self._settle()
        self._owned.clear()
        return RunView(**self._fields)

    def add(self, event: ev.Event) -> None:
        """Add one event."""
        if not isinstance(event, ev.Step):
            self._handle(event)
        elif natural(event.row.get("step")) is None:
            self._count_unknown(event.kind)
        else:
            self._add_row({**event.row, "t": event.t})
        if event.t > 0:
            self._fields["last_t"] = event.t

    def _add_row(self, row: dict[str, Any]) -> None:
        fields, waiting, tokens = self._fields, self._waiting["rows"], number(row.get("tokens_seen"))
        waiting.append(row)
        fields["step"] = max(fields["step"], row["step"])
        if not math.isnan(tokens):
            fields["tokens_seen"] = int(tokens)
        if len(waiting) > MOST_WAITING_ROWS:
            self._settle()

    def _settle(self) -> None:
        """Append the waiting rows and evaluations; many at once take hardly longer than one."""
        for name, waiting in self._waiting.items():
            if waiting:
                self._fields[name] = self._fields[name].append(block_of(waiting))
                waiting.clear()

    def _handle(self, event: ev.Event) -> None:
        match event:
            case ev.Phase():
                self._begin_phase(event)
            case ev.Progress():
                self._fields["progress"] = event
            case ev.RunStarted():
                self._start(event)
            case ev.RunEnded():
                self._end(event)
            case ev.Evaluated():
                self._add_eval(event)
            case ev.SetEvaluated() | ev.TaskEvaluated(part_of=None):
                self._fields["scores"] = kept((*self._fields["scores"], event))
            case ev.Checkpoint():
                self._add_checkpoint(event)
            case ev.Compiled():
                self._fields["compiled"] = event
            case ev.Sampled():
                self._keep("samples", event, MOST_SAMPLES)
                self._fields["samples"] = _within(self._fields["samples"], MOST_SAMPLE_CHARACTERS)
            case ev.Warned():
                self._keep("warnings", event, MOST_WARNINGS)
                self._fields["warning_count"] += 1
            case ev.NonFinite():
                self._keep("nonfinite", event, MOST_NONFINITE)
                self._fields["nonfinite_count"] += 1
            case ev.Spike():
                self._keep("spikes", event, MOST_NONFINITE)
                self._fields["spike_count"] += 1
            case ev.RolledBack():
                self._roll_back(event)
            case ev.Profiled():
                self._fields["profile"] = event
            case ev.Acknowledged():
                self._keep("answers", event, MOST_ANSWERS)
                if event.ok and event.command in ("pause", "resume"):
                    self._fields["is_paused"] = event.command == "pause"
            case ev.Unknown():
                self._count_unknown(event.name)

    def _keep(self, name: str, event: ev.Event, most: int) -> None:
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

    def _begin_phase(self, event: ev.Phase) -> None:
        fields = self._fields
        if event.name == "data":
            # A new engine's first event: the phase before it lasted until its own engine's last event or row.
            known = [t for t in (fields["last_t"], event.last_row_t) if t is not None]
            self._close_phase(max(known, default=None))
            fields["opening"], fields["refused"], fields["opened"] = event, None, ()
        else:
            self._close_phase(event.t)
        if not any(one.name == "train" for one in fields["opened"]):
            fields["opened"] = (*fields["opened"], event)[-MOST_OPENED:]
        fields["phase"], fields["progress"] = event, None
        fields["is_paused"] = event.name == "paused" or (fields["is_paused"] and event.name in JOBS)
        fields["step"] = max(fields["step"], event.step)

    def _close_phase(self, t: float | None) -> None:
        phase = self._fields["phase"]
        if phase is not None and t is not None:
            add_seconds(self._own("spent"), CATEGORY_OF_PHASE.get(phase.name), t - phase.t)
        self._fields["phase"] = None

    def _start(self, event: ev.RunStarted) -> None:
        self._settle()
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
        """Count the training up to Unix time `reached` beyond step `kept`, to which the run goes back, as lost."""
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
            add_seconds(spent, "lost", lost)

    def _roll_back(self, event: ev.RolledBack) -> None:
        """The same attempt went back; its bad steps and rollbacks stay in the view."""
        self._settle()
        fields = self._fields
        bad = ("nonfinite", "nonfinite_count", "spikes", "spike_count", "rollbacks")
        kept = {name: fields[name] for name in bad}
        phase = fields["phase"]
        self._close_phase(event.t)
        if phase is not None:
            fields["phase"] = ev.Phase(name=phase.name, step=event.step, t=event.t)
        self._count_lost(event.step, event.t)
        self._go_back_to(event.step)
        fields.update(kept)
        self._keep("rollbacks", event, MOST_NONFINITE)
        fields["step"] = event.step
        fields["tokens_seen"] = int(fields["rows"].last("tokens_seen") or 0)

    def _go_back_to(self, step: int) -> None:
        fields = self._fields
        fields["rows"], fields["evals"] = fields["rows"].cut(step), fields["evals"].cut(step)
        for name in ("samples", "scores"):
            fields[name] = tuple(one for one in fields[name] if one.step <= step)
        for name, count in (("nonfinite", "nonfinite_count"), ("spikes", "spike_count")):
            valid = tuple(one for one in fields[name] if one.step <= step)
            fields[count] -= len(fields[name]) - len(valid)
            fields[name] = valid
        fields["rollbacks"] = tuple(one for one in fields["rollbacks"] if one.from_step <= step)
        checkpoints = self._own("checkpoints")
        for beyond in [saved for saved in checkpoints if saved > step]:
            del checkpoints[beyond]

    def _end(self, event: ev.RunEnded) -> None:
        fields = self._fields
        # An average is complete without a start.
        is_average = fields["started"] is None and fields["ended"] is not None and fields["ended"].status == "completed"
        if is_average or (fields["started"] is not None and self._never_began(event)):
            fields.update(refused=event, opening=None, phase=None)
            return
        self._close_phase(event.t)
        fields.update(ended=event, opening=None, refused=None, is_paused=False)
        fields["step"] = max(fields["step"], event.step)
        if event.time_budget_seconds:
            fields["spent"], fields["is_accounted"] = dict(event.time_budget_seconds), True
            self._owned.add("spent")

    def _never_began(self, event: ev.RunEnded) -> bool:
        """Whether this is the end of an attempt that was refused before it began."""
        fields = self._fields
        if fields["opening"] is not None or fields["ended"] is not None:
            return True
        # An engine that finds no device writes only this event; one that began ends no earlier than where it resumed.
        return event.step < (fields["started"].resumed_from or 0)

    def _add_eval(self, event: ev.Evaluated) -> None:
        self._waiting["evals"].append({name: getattr(event, name) for name in EVAL_COLUMNS})
        self._fields["step"] = max(self._fields["step"], event.step)

    def _add_checkpoint(self, event: ev.Checkpoint) -> None:
        checkpoints = self._own("checkpoints")
        earlier = checkpoints.pop(event.step, None)
        size = event.bytes if event.bytes is not None or earlier is None else earlier.bytes
        checkpoints[event.step] = CheckpointStatus(
            event.step, event.state, event.t, size, event.seconds, event.blocked_seconds, event.reason
        )
        if len(checkpoints) > MOST_CHECKPOINTS:
            gone = next((step for step, one in checkpoints.items() if one.state == "deleted"), next(iter(checkpoints)))
            del checkpoints[gone]


def _within(samples: tuple[ev.Sampled, ...], characters: int) -> tuple[ev.Sampled, ...]:
    """The newest samples that together have at most so many characters, and the newest in any case."""
    total = sum(len(sample.text) + len(sample.prompt) for sample in samples)
    while total > characters and len(samples) > 1:
        total -= len(samples[0].text) + len(samples[0].prompt)
        samples = samples[1:]
    return samples
