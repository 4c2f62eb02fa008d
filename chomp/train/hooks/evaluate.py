"""Scoring the held-out text while training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from chomp.record import formatting
from chomp.record.commands import Command
from chomp.record.events import Evaluated
from chomp.record.manifest import set_evaluation
from chomp.step.ema import params_of_average
from chomp.train.control import run_interruptible
from chomp.train.evaluate import EvalResult, evaluate
from chomp.train.hooks.base import Hook
from chomp.train.session import Session
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.train")


class EvaluateHook(Hook):
    """Evaluates every `train.eval_every` steps and on `eval`; the row of a scheduled evaluation carries its loss."""

    command = job = "eval"

    def __init__(self, session: Session):
        self._session = session
        self._byte_lengths = session.tokenizer.byte_lengths()
        self._scheduled: tuple[int, dict[str, float]] | None = None
        self._program: Callable[..., Any] | None = None
        self.every = session.config.train.eval_every if session.data.has_eval else 0

    def is_due_at_end(self, trainer: Trainer) -> bool:
        return self.every > 0 and trainer.progress.eval_step != trainer.progress.step

    def on_step(self, trainer: Trainer) -> None:
        result, average = self._evaluate(trainer)
        values = {"eval_loss": result.loss, "eval_bpb": result.bpb}
        if average is not None:
            values |= {"eval_ema_loss": average.loss, "eval_ema_bpb": average.bpb}
        known = {name: value for name, value in values.items() if value is not None}
        self._scheduled = trainer.progress.step, known

    def on_command(self, trainer: Trainer, command: Command) -> str:
        if not self._session.data.has_eval:
            return "there is no held-out text to evaluate on"
        result, _ = self._evaluate(trainer)
        if self._session.saves and self._session.world.is_leader:
            self._note_beside_checkpoint(trainer.progress.step, result)
        return f"evaluated at step {trainer.progress.step}: loss {formatting.loss(result.loss)}"

    def _note_beside_checkpoint(self, step: int, result: EvalResult) -> None:
        """Write the losses beside the checkpoint of this step; a scheduled evaluation comes before the save."""
        store = self._session.store
        store.wait()
        for info in store.infos():
            if info.step == step and info.meta:
                try:
                    set_evaluation(info.path, result.loss, result.bpb)
                except OSError as error:
                    log.warning("the evaluation of checkpoint %d cannot be noted: %s", step, error.strerror)

    def on_rollback(self, trainer: Trainer) -> None:
        self._scheduled = None

    def for_row(self, step: int) -> dict[str, float]:
        """What the scheduled evaluation of `step` adds to its metrics row; nothing without one."""
        if self._scheduled is None or self._scheduled[0] != step:
            return {}
        return self._scheduled[1]

    def _evaluate(self, trainer: Trainer) -> tuple[EvalResult, EvalResult | None]:
        """Score the held-out text with the parameters, and with their moving average if that is evaluated.

        Raises:
            StopRequestedError: by a signal; nothing is reported.
        """
        session, progress, state = self._session, trainer.progress, trainer.state
        with trainer.phase("eval"):
            result = self._score(trainer, state.params)
            average = None
            if state.ema is not None and session.config.optim.ema.evaluate:
                average = self._score(trainer, params_of_average(state.ema, state.params))
            progress.eval_step, progress.eval_loss, progress.eval_bpb = progress.step, result.loss, result.bpb
            session.reporter.publish(
                Evaluated(
                    step=progress.step,
                    loss=result.loss,
                    perplexity=result.perplexity,
                    bpb=result.bpb,
                    unigram_loss=result.unigram_loss,
                    tokens=result.tokens,
                    seconds=round(result.seconds + (average.seconds if average is not None else 0.0), 3),
                    ema_loss=average.loss if average is not None else None,
                    ema_bpb=average.bpb if average is not None else None,
                )
            )
        return result, average

    def _score(self, trainer: Trainer, params: Any) -> EvalResult:
        session = self._session
        return evaluate(
            params,
            self._eval_step,
            session.data.eval_batches(session.blueprint.placement.count),
            self._byte_lengths,
            isolate=session.config.data.isolate_documents,
            check_stop=trainer.check_stop,
            placement=session.blueprint.placement,
        )

    def _eval_step(self, params: Any, rows: Any) -> Any:
        """One batch; the first call compiles, which may take longer than a user who stops the run will wait."""
        session = self._session
        if session.world.is_alone:
            return run_interruptible(lambda: session.eval_step(params, rows), session.switch.check)
        # What all devices compute together cannot be left by one process.
        if self._program is None:
            self._program = session.interruptible(lambda: session.eval_step.lower(params, rows).compile(), None)
        return self._program(params, rows)
