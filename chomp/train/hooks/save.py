"""Checkpoints while training and at its end."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from chomp.checkpoint.items import to_items
from chomp.errors import CheckpointError
from chomp.record.codec import jsonable
from chomp.record.commands import Command
from chomp.record.events import Warned
from chomp.train.hooks.base import Hook, run_hooks
from chomp.train.hooks.log import LogHook
from chomp.train.hooks.sample import SampleHook
from chomp.train.hooks.save_plan import SavePlan
from chomp.train.machine import device_facts, package_versions
from chomp.train.progress import TrainProgress
from chomp.train.session import Session
from chomp.train.trainer import Trainer


class SaveHook(Hook):
    """Saves as `plan` says and on `save`; last of all hooks, so that a checkpoint knows its evaluation loss."""

    command = "save"

    def __init__(self, session: Session, plan: SavePlan, log: LogHook, sample: SampleHook):
        self._session = session
        self._plan = plan
        self._log = log
        self._sample = sample

    def is_due(self, step: int, last: int) -> bool:
        return self._plan.is_due(step)

    def is_due_at_end(self, trainer: Trainer) -> bool:
        # `save_last` saves at every end.
        return False

    def on_start(self, trainer: Trainer) -> None:
        self._plan.restart_clock()

    def on_step(self, trainer: Trainer) -> None:
        self._save_sampled(trainer, wait=not self._session.config.checkpoint.async_save)

    def on_command(self, trainer: Trainer, command: Command) -> str:
        step = trainer.progress.step
        if not self._session.saves:
            why = "this is a dry run" if self._session.request.dry_run else "checkpoint.enabled is false"
            return f"{why}: nothing is saved"
        saved = self._save_sampled(trainer, wait=False)
        return f"saving step {step}" if saved else f"step {step} is already saved"

    def poll(self, trainer: Trainer) -> None:
        """Warn of a save that failed since the last call; the state is still here, and the next save tries again.

        Raises:
            CheckpointError: one process of several could not write its part; it would hold up each save of the others.
        """
        failure = self._session.store.take_failure()
        if failure is not None and failure.of_process:
            raise CheckpointError(f"step {failure.step} could not be saved: {failure.reason}")
        if failure is not None:
            self._session.reporter.publish(
                Warned(
                    topic="checkpoint",
                    step=failure.step,
                    message=f"step {failure.step} could not be saved ({failure.reason}); "
                    "training continues and the next save tries again",
                )
            )

    def save_last(self, trainer: Trainer) -> None:
        """Save before leaving, unless nothing changed, saving is off or a failed step took the arrays with it."""
        if self._session.saves and trainer.is_settled():
            self._save(trainer, wait=True)
        # A save that began earlier is worth waiting for in any case.
        self._session.store.wait()

    def _save_sampled(self, trainer: Trainer, *, wait: bool) -> bool:
        """Save with the samples that belong to the checkpoint; False if the step is saved already."""
        self._sample_what_is_saved(trainer)
        saved = self._save(trainer, wait=wait)
        if saved:
            trainer.publish_phase(trainer.between)
        return saved

    def _sample_what_is_saved(self, trainer: Trainer) -> None:
        progress, store = trainer.progress, self._session.store
        if self._plan.samples_of == "none" or progress.sample_step == progress.step:
            return
        with self._session.budget.measure("save"):
            # One still being written counts among the best, too.
            store.wait()
        rank = progress.rank(self._session.config.evaluation.best)
        if not store.has(progress.step) and self._plan.is_sampled(progress.step, due=True, rank=rank):
            run_hooks(trainer, [self._sample])

    def _save(self, trainer: Trainer, *, wait: bool) -> bool:
        """Save the state, which is that of `progress.step`; False if it is saved already."""
        session, step = self._session, trainer.progress.step
        with session.budget.measure("save"):
            session.store.wait()
        if session.store.has(step):
            return False
        trainer.publish_phase("save")
        with session.budget.measure("save"):
            meta = _checkpoint_meta(session, trainer.progress, self._log.deferred_row)
            meta["program"] = trainer.program.digest if trainer.program is not None else None
            session.store.save(step, to_items(trainer.state), trainer.data_state, meta, wait=wait)
        self._plan.restart_clock()
        return True


def _checkpoint_meta(session: Session, progress: TrainProgress, deferred_row: dict[str, Any] | None) -> dict[str, Any]:
    """The description saved beside a checkpoint's arrays; older checkpoints are read by these names."""
    evaluated = progress.eval_step == progress.step
    return {
        "step": progress.step,
        "saved_at": round(time.time(), 3),
        "identity": session.identity,
        "attempt": session.start.attempt,
        "accepted": list(session.request.accept),
        "versions": package_versions(),
        "device": device_facts(session.blueprint.placement),
        "parameters": session.model_def.parameter_count,
        "tokens_seen": progress.tokens_seen,
        "tokens_read": progress.tokens_read,
        **({"source_losses": dict(progress.source_losses.sums)} if progress.source_losses.sums else {}),
        "train_loss": _number(progress.loss),
        "eval_step": progress.eval_step,
        "eval_loss": _number(progress.eval_loss) if evaluated else None,
        "eval_bpb": _number(progress.eval_bpb) if evaluated else None,
        **_scores(session, progress),
        "evaluated_texts": dict(session.evaluations.texts),
        **({"apart": session.evaluations.apart} if session.evaluations.apart is not None else {}),
        "owed": list(progress.unfinished_jobs),
        "rollbacks": dataclasses.asdict(progress.rollbacks),
        **({"spikes": judged} if (judged := progress.spikes.state()) else {}),
        "time_budget_seconds": session.budget.totals(),
        "owed_row": jsonable(deferred_row) if "eval" in progress.unfinished_jobs else None,
    }


def _scores(session: Session, progress: TrainProgress) -> dict[str, Any]:
    """The scores of sets and tasks at this step, and by which the best checkpoints are chosen; nothing without any."""
    best = session.config.evaluation.best
    scores = progress.scores if progress.scores_step == progress.step else {}
    found = {"scores": {name: _number(value) for name, value in scores.items()}} if scores else {}
    return found | ({"best_by": best} if best is not None else {})


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
