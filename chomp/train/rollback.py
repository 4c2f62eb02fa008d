"""Going back to the newest good checkpoint after a bad step, and continuing with the next text."""

from __future__ import annotations

import dataclasses
from typing import Any

from chomp.checkpoint.restore import choose
from chomp.config.run import DebugConfig
from chomp.errors import NonFiniteError
from chomp.record.events import Checkpoint, RolledBack
from chomp.record.manifest import CheckpointInfo
from chomp.step.state import TrainState, slow_down
from chomp.train.progress import Rollbacks, TrainProgress
from chomp.train.restorer import load_state
from chomp.train.session import Session
from chomp.train.trainer import RollbackDueError, Trainer

SET_ASIDE = "before-rollback"


def roll_back(trainer: Trainer, due: RollbackDueError) -> None:
    """Go back to the newest intact checkpoint, or to the start of a run that has none, with a lower learning rate.

    The batch of the bad step is not read again: the data continues after it.

    Raises:
        NonFiniteError: `debug.max_consecutive_rollbacks` in a row have not helped.
        CheckpointError: there are checkpoints, and none is intact.
        StopRequestedError: by a signal while the checkpoint is read.
    """
    session, debug = trainer.session, trainer.config.debug
    rollbacks = trainer.progress.rollbacks.one_more(due.step, debug)
    _refuse_too_many(rollbacks, due, debug)
    info = _last_good(session)
    meta = info.meta if info is not None else {}
    step = info.step if info is not None else 0
    # Jobs that were unfinished at the checkpoint have been done since.
    progress = dataclasses.replace(TrainProgress.from_meta(step, meta), unfinished_jobs=[], rollbacks=rollbacks)
    trainer.give_up_state(progress)
    with session.budget.measure("startup"):
        state = session.interruptible(lambda: _state_of(session, info), None)
    session.budget.give_up(meta.get("time_budget_seconds", {}))
    trainer.continue_from(slow_down(state, rollbacks.lr_factor, rollbacks.until_step), due.data_state)
    session.reporter.publish(_rolled_back(step, due, rollbacks, session.config.train.steps))


def _refuse_too_many(rollbacks: Rollbacks, due: RollbackDueError, debug: DebugConfig) -> None:
    most = debug.max_consecutive_rollbacks
    if rollbacks.in_a_row > most:
        raise NonFiniteError(
            f"{due.words}; going back {most} time{'s' * (most != 1)} in a row did not help "
            f"(debug.max_consecutive_rollbacks); the parameters are those of step {due.step - 1}. Resume from an "
            "earlier checkpoint with a lower learning rate (-o optim.lr=… --accept optim.lr)"
        )


def _last_good(session: Session) -> CheckpointInfo | None:
    """The newest intact checkpoint; newer ones that are damaged are reported, and all newer ones set aside."""
    with session.budget.measure("save"):
        session.store.wait()
    store = session.store
    info, refused = session.interruptible(lambda: choose(store.common_infos(), "latest", store.verify), None)
    for refusal in refused:
        session.reporter.publish(Checkpoint(state="refused", step=refusal.step, reason=refusal.reason))
    if info is not None:
        store.set_aside(info.step, SET_ASIDE)
    return info


def _state_of(session: Session, info: CheckpointInfo | None) -> TrainState:
    if info is None:
        return session.blueprint.first_state()
    return load_state(info, session.blueprint)[0]


def _rolled_back(step: int, due: RollbackDueError, rollbacks: Rollbacks, last: int) -> RolledBack:
    where = f"the checkpoint of step {step}" if step else "the start"
    until = min(rollbacks.until_step, last)
    message = (
        f"{due.words}; went back to {where} and continued with the next text, the learning rate times "
        f"{rollbacks.lr_factor:g} until step {until} (rollback {rollbacks.in_a_row} in a row)"
    )
    origin: dict[str, Any] = due.origin._asdict()
    return RolledBack(
        step=step,
        from_step=due.step,
        lr_factor=rollbacks.lr_factor,
        until_step=rollbacks.until_step,
        in_a_row=rollbacks.in_a_row,
        count=rollbacks.count,
        message=message,
        cause=due.cause,
        **origin,
    )
