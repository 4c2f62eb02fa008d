"""Evaluation curves of trials, compared at equal tokens; pure but for the reading of events."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chomp.record.event_log import EventReader
from chomp.record.events import Evaluated, RolledBack, RunStarted
from chomp.record.rundir import RunDir
from chomp.sweep.spec import Pruning


@dataclass(frozen=True)
class Point:
    """One evaluation; a value that is not finite is infinite."""

    step: int
    tokens: int
    loss: float
    bpb: float


Curve = tuple[Point, ...]


@dataclass
class CurveReader:
    """Reads the evaluations of one run; each read reads only what was added.

    Attributes:
        total_steps: of the run.
        tokens_per_step: of the run.
    """

    path: Path
    total_steps: int = 0
    tokens_per_step: int = 0
    _reader: EventReader | None = None
    _points: dict[int, Point] = field(default_factory=dict)

    def read(self) -> Curve:
        """All evaluations so far, by step: a resumed run repeats some, and one that rolled back has fewer."""
        reader = self._reader = self._reader or EventReader(RunDir(self.path).events)
        for event in reader.read():
            match event:
                case RunStarted():
                    self.total_steps, self.tokens_per_step = event.total_steps, event.tokens_per_step
                    self._forget(event.resumed_from or 0)
                case RolledBack():
                    self._forget(event.step)
                case Evaluated():
                    tokens = event.step * self.tokens_per_step
                    self._points[event.step] = Point(event.step, tokens, _finite(event.loss), _finite(event.bpb))
        return tuple(self._points[step] for step in sorted(self._points))

    def _forget(self, step: int) -> None:
        self._points = {one: point for one, point in self._points.items() if one <= step}


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.inf


def loss_at(curve: Curve, tokens: int) -> float | None:
    """The loss at so many tokens, between two evaluations on the line between them; None if it did not come so far."""
    place = bisect_left(curve, tokens, key=lambda point: point.tokens)
    if place == len(curve):
        return None
    after = curve[place]
    if after.tokens == tokens or place == 0:
        return after.loss
    before = curve[place - 1]
    share = (tokens - before.tokens) / (after.tokens - before.tokens)
    return before.loss + share * (after.loss - before.loss)


def why_prune(curve: Curve, others: Sequence[Curve], total_tokens: int, rule: Pruning) -> str | None:
    """Why a trial is stopped after its newest evaluation; None to let it go on."""
    if not curve or curve[-1].tokens < rule.after * total_tokens or curve[-1].tokens >= total_tokens:
        return None
    newest = curve[-1]
    reached = [loss for other in others if (loss := loss_at(other, newest.tokens)) is not None]
    if len(reached) + 1 < rule.at_least:
        return None
    kept = max(1, math.floor(rule.keep * (len(reached) + 1)))
    better = sum(loss < newest.loss for loss in reached)
    if better < kept:
        return None
    return (
        f"pruned at step {newest.step:,}: loss {newest.loss:.4f} is place {better + 1} of {len(reached) + 1} at "
        f"{newest.tokens:,} tokens, and the best {kept} go on"
    )


def score_of(curve: Curve, metric: str) -> float | None:
    """What a trial is ranked by; None without an evaluation."""
    values = [point.bpb if metric.endswith("bpb") else point.loss for point in curve]
    values = [value for value in values if math.isfinite(value)] if metric.startswith("best_") else values[-1:]
    found = min(values, default=math.inf)
    return found if math.isfinite(found) else None
