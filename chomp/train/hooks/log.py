"""Metrics rows: when there is one, and the row that waits for its evaluation."""

from __future__ import annotations

from typing import Any

from chomp.config.train import TrainConfig
from chomp.data.shares import Shares
from chomp.record.events import Step, Warned
from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook
from chomp.train.hooks.evaluate import EvaluateHook
from chomp.train.metrics import MetricsAggregator, by_source
from chomp.train.progress import Pending
from chomp.train.session import Session
from chomp.train.trainer import Trainer


class LogHook(Hook):
    """Publishes a metrics row every `train.log_every` steps, as soon as the step's metrics are on the host.

    The row of a step with a scheduled evaluation is deferred: `on_step`, which follows the evaluation, publishes it.

    Attributes:
        deferred_row: that row; a checkpoint carries it if a stop cuts the evaluation short.
    """

    def __init__(self, session: Session, evaluate: EvaluateHook):
        self._session = session
        self._evaluate = evaluate
        self._newest: StepMetrics | None = None
        self.every = session.config.train.log_every
        self.deferred_row: dict[str, Any] | None = session.start.deferred_row
        self._ended: list[str] = []
        self.metrics = MetricsAggregator(
            session.config,
            session.budget,
            tokens_per_step=session.derived.tokens_per_step,
            flops_per_token=session.blueprint.flops_per_token,
            peak_flops=session.peak_flops,
        )

    def is_due(self, step: int, last: int) -> bool:
        return self._evaluate.is_due(step, last)

    def is_due_at_end(self, trainer: Trainer) -> bool:
        return True

    def on_start(self, trainer: Trainer) -> None:
        self._ended = self._session.data.ended(trainer.data_state)
        if trainer.program is not None:
            self.metrics.compiled(trainer.program.seconds)
        self.metrics.restart()

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        train, step = self._session.config.train, completed.step
        self._newest = metrics
        self._tell_of_ended_sources(trainer)
        self.metrics.completed(completed, int(metrics.tokens))
        evaluated = self._evaluate.is_due(step, train.steps)
        if has_row(step, train, evaluated=evaluated):
            row = self.metrics.make(step, metrics, trainer.progress.tokens_seen, source_numbers(trainer))
            self.deferred_row = row | self._session.processes.row()
            if not evaluated:
                self.publish()

    def _tell_of_ended_sources(self, trainer: Trainer) -> None:
        state, mixture = trainer.data_state, self._session.config.data.mixture
        before, self._ended = self._ended, self._session.data.ended(state)
        for name in self._ended:
            if name not in before:
                message = f"the source {name} of data.mixture is exhausted"
                if mixture.exhausted == "renormalise":
                    left = ", ".join(Shares(mixture).left(state["read"], state["ended"]))
                    message += f"; its share goes to {left} from here on" if left else "; no source is left"
                self._session.reporter.publish(Warned(topic="data", step=trainer.progress.step, message=message))

    def on_step(self, trainer: Trainer) -> None:
        self.publish()

    def on_rollback(self, trainer: Trainer) -> None:
        self._newest = self.deferred_row = None
        self.metrics.restart()

    def on_end(self, trainer: Trainer) -> None:
        """Make a row of the last completed step, if steps have completed since the last row."""
        if self._newest is not None and self.metrics.has_steps():
            progress = trainer.progress
            self.deferred_row = self.metrics.make(
                progress.step, self._newest, progress.tokens_seen, source_numbers(trainer)
            )

    def publish(self) -> None:
        """Publish the deferred row, if there is one."""
        if self.deferred_row is not None:
            row, self.deferred_row = self.deferred_row, None
            self._session.reporter.publish(Step(row=row | self._evaluate.for_row(row["step"])))


def source_numbers(trainer: Trainer) -> dict[str, float]:
    """Numbers by source of a mixture, at the last completed step; {} without one."""
    return by_source(trainer.progress.source_losses.take(), trainer.session.data.by_source(trainer.data_state))


def has_row(step: int, train: TrainConfig, *, evaluated: bool) -> bool:
    """Whether `step` gets a row: at the cadence, first, last, and where there is an evaluation."""
    return evaluated or step % train.log_every == 0 or step in (1, train.steps)
