"""What the host knows of a run: exact counts, the newest losses, and unfinished jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chomp.config.fields import MAX_STEPS
from chomp.config.run import DebugConfig
from chomp.notify.spike import SpikeDetector
from chomp.step.objective import SourceSums
from chomp.step.train_step import StepMetrics


@dataclass
class Pending:
    """A dispatched step whose metrics are still on their way from the device.

    `data_state` is the data iterator's state after this step's batch, `utilization` the
    share of the batch's positions that hold tokens.
    """

    step: int
    metrics: StepMetrics
    data_state: dict[str, Any]
    tokens_read: int
    utilization: float


@dataclass(frozen=True)
class Rollbacks:
    """The rollbacks of a run so far; a checkpoint carries them, as the learning rate depends on the last one.

    Attributes:
        count: of the whole run.
        in_a_row: how many, the last included, came before the learning rate was whole again.
        lr_factor: what the learning rate is multiplied by since the last one.
        until_step: the last step for which it is.
    """

    count: int = 0
    in_a_row: int = 0
    lr_factor: float = 1.0
    until_step: int = 0

    def one_more(self, bad_step: int, debug: DebugConfig) -> Rollbacks:
        """The same with a rollback after `bad_step`.

        Steps beyond `until_step` are `debug.rollback_steps` further than any bad one before: rollbacks that are not
        in a row move forward, so that a run cannot go back for ever.
        """
        return Rollbacks(
            count=self.count + 1,
            in_a_row=self.in_a_row + 1 if bad_step <= self.until_step else 1,
            lr_factor=debug.rollback_lr_factor,
            until_step=min(max(self.until_step, bad_step + debug.rollback_steps), MAX_STEPS),
        )


@dataclass
class SourceLosses:
    """Losses by source of a mixture since the last metrics row; a small source is not in every batch.

    Attributes:
        sums: by source, the sum in nats and the loss tokens.
    """

    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, names: Iterable[str], step: SourceSums) -> None:
        """Count a completed step in."""
        for name, loss, tokens in zip(names, step.loss, step.tokens, strict=True):
            before, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [before + float(loss), count + int(tokens)]

    def take(self) -> dict[str, float]:
        """The means of sources that had loss tokens; begins anew."""
        means = {name: loss / tokens for name, (loss, tokens) in self.sums.items() if tokens}
        self.sums.clear()
        return means


@dataclass
class TrainProgress:
    """Totals of the whole run, earlier attempts included; integers, so that they stay exact at any size.

    Attributes:
        scores: losses of evaluation sets, and bits per byte of tasks, at `scores_step`.
        unfinished_jobs: hooks' jobs that a stop cut short, for the attempt that resumes.
        spikes: judges losses and gradient norms under `debug.spikes: warn`.
    """

    step: int = 0
    tokens_seen: int = 0
    tokens_read: int = 0
    loss: float | None = None
    eval_step: int | None = None
    eval_loss: float | None = None
    eval_bpb: float | None = None
    scores_step: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    sample_step: int | None = None
    unfinished_jobs: list[str] = field(default_factory=list)
    rollbacks: Rollbacks = Rollbacks()
    source_losses: SourceLosses = field(default_factory=SourceLosses)
    spikes: SpikeDetector = field(default_factory=SpikeDetector)

    def rank(self, by: str | None) -> float | None:
        """That by which checkpoints are ranked, the loss of the held-out text or of `by`; None if it is older."""
        if by is None:
            return self.eval_loss if self.eval_step == self.step else None
        return self.scores.get(by) if self.scores_step == self.step else None

    @classmethod
    def from_meta(cls, step: int, meta: dict[str, Any]) -> TrainProgress:
        """The totals that a checkpoint carries."""
        return cls(
            step=step,
            tokens_seen=int(meta.get("tokens_seen", 0)),
            tokens_read=int(meta.get("tokens_read", 0)),
            unfinished_jobs=list(meta.get("owed", [])),
            rollbacks=Rollbacks(**meta.get("rollbacks", {})),
            source_losses=SourceLosses(dict(meta.get("source_losses", {}))),
            spikes=SpikeDetector(meta.get("spikes", {})),
        )
