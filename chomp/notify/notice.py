"""A notice: one fact about a run that its user wants to hear without looking."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from chomp.record import events as ev
from chomp.record.codec import jsonable
from chomp.record.formatting import decimal, is_finite, one_line, plural

Kind = Literal[
    "finished", "stopped", "crashed", "killed", "nonfinite", "spike", "stalled", "disk", "queue_empty", "test"
]
WORDS: Mapping[str, str] = {
    "finished": "finished",
    "stopped": "stopped",
    "crashed": "crashed",
    "killed": "killed",
    "nonfinite": "loss not finite",
    "spike": "loss spike",
    "stalled": "stalled",
    "disk": "disk problem",
    "queue_empty": "queue empty",
    "test": "test notice",
}
# These end a run, or the work of a night: they are never held back. All others may repeat.
ENDS = frozenset({"finished", "stopped", "crashed", "killed", "queue_empty", "test"})
URGENT = frozenset({"crashed", "killed", "nonfinite", "stalled", "disk"})
LONGEST_REASON = 1000


@dataclass(frozen=True)
class Notice:
    """What is sent.

    Attributes:
        run: name of the run's directory; of the queue for `queue_empty`.
        reason: one sentence, without control characters.
        path: of the run directory.
        t: Unix time at which it happened.
        id: the same at every attempt to send it, so that a receiver can recognise one that arrives twice.
    """

    kind: Kind
    run: str
    reason: str
    path: str = ""
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    host: str = field(default_factory=socket.gethostname)
    t: float = field(default_factory=lambda: round(time.time(), 3))
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def title(self) -> str:
        """`demo: crashed`."""
        return f"{one_line(self.run)}: {WORDS[self.kind]}"

    @property
    def text(self) -> str:
        """The rest in one line: `step 120 of 1,000 · loss 3.2107 · out of memory …`."""
        parts = []
        if self.step is not None:
            parts.append(f"step {self.step:,}" + (f" of {self.total_steps:,}" if self.total_steps else ""))
        if is_finite(self.loss):
            parts.append(f"loss {decimal(self.loss)}")
        return " · ".join([*parts, one_line(self.reason)[:LONGEST_REASON], f"on {one_line(self.host)}"])

    def as_json(self) -> dict[str, Any]:
        """The notice as a command or a service reads it."""
        values = {**asdict(self), "run": one_line(self.run), "reason": one_line(self.reason)[:LONGEST_REASON]}
        return jsonable({"v": 1, **values, "title": self.title, "text": self.text})


def test_notice() -> Notice:
    """A notice that says nothing of a run."""
    return Notice("test", "chomp", "notices arrive here")


_END_KINDS: Mapping[str, Kind] = {
    "completed": "finished",
    "data_exhausted": "finished",
    "stopped": "stopped",
    "crashed": "crashed",
}
NONFINITE_EXIT = 6


def kind_and_reason(event: ev.Event, kinds: frozenset[str]) -> tuple[Kind, str] | None:
    """What an event of an engine is worth telling; None for most.

    A loss that is not finite ends a run under `halt`: of the two kinds only one is told, if both are wanted.
    """
    match event:
        case ev.RunEnded(exit_code=code) if code == NONFINITE_EXIT and "crashed" not in kinds:
            return "nonfinite", event.reason
        case ev.RunEnded() if event.status in _END_KINDS:
            return _END_KINDS[event.status], event.reason
        case ev.NonFinite() if event.action != "halt":
            return "nonfinite", f"the loss is not finite ({event.action}); {plural(event.skipped, 'step')} skipped"
        case ev.Spike():
            return "spike", event.message
        case ev.Warned(topic="stalled" | "disk" as kind):
            return kind, event.message
        case ev.Checkpoint(state="failed"):
            return "disk", f"step {event.step} could not be saved: {event.reason}"
    return None
