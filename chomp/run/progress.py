"""What the host knows of a run: exact counts, the newest losses, and the row being made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chomp.step.train_step import StepMetrics


@dataclass
class Pending:
    """A dispatched step whose metrics are still on their way from the device.

    `position` is the data iterator's state after this step's batch; `rows_filled` the
    share of the batch's positions that hold tokens.
    """

    step: int
    metrics: StepMetrics
    position: dict[str, Any]
    tokens_read: int
    utilization: float


@dataclass
class Progress:
    """Totals of the whole run, earlier attempts included; integers, so that they stay exact at any size."""

    step: int = 0
    tokens_seen: int = 0
    tokens_read: int = 0
    loss: float | None = None
    eval_step: int | None = None
    eval_loss: float | None = None
    eval_bpb: float | None = None
    owed: list[str] = field(default_factory=list)

    @classmethod
    def from_meta(cls, step: int, meta: dict[str, Any]) -> Progress:
        """The totals that a checkpoint carries."""
        return cls(
            step=step,
            tokens_seen=int(meta.get("tokens_seen", 0)),
            tokens_read=int(meta.get("tokens_read", 0)),
            owed=list(meta.get("owed", [])),
        )
