"""Going back before a step because a user leaves out its batch; the steps up to it are computed again."""

from __future__ import annotations

import dataclasses
from typing import Any

from chomp.checkpoint.restore import choose
from chomp.errors import CheckpointError, ConfigError, RunDirError
from chomp.record.event_log import read_events
from chomp.record.events import Checkpoint, RolledBack
from chomp.record.json_text import natural
from chomp.record.manifest import CheckpointInfo
from chomp.record.timeline import read_timeline
from chomp.step.state import TrainState
from chomp.train.progress import TrainProgress
from chomp.train.restorer import load_state
from chomp.train.session import Session
from chomp.train.trainer import Trainer

SET_ASIDE = "before-skip"


class RewindDueError(Exception):
    """The run goes back because a user leaves out a batch.

    Attributes:
        step: that receives it now, and will receive the next one.
        info: the checkpoint to go back to; None for the start of the run.
    """

    def __init__(self, step: int, info: CheckpointInfo | None):
        super().__init__(f"step {step} is left out")
        self.step = step
        self.info = info

    @property
    def words(self) -> str:
        """What happens now."""
        where = f"the checkpoint of step {self.info.step}" if self.info is not None else "the start"
        return f"went back to {where}; the batch of step {self.step} is left out"


def plan_skip(trainer: Trainer, wanted: Any) -> RewindDueError:
    """What leaving out the batch of a step takes; the trainer is between two steps.

    Raises:
        ConfigError: the step has not been trained, or cannot be left out.
        CheckpointError: the checkpoints before it are damaged.
    """
    session, step, reached = trainer.session, natural(wanted), trainer.progress.step
    if not step or step > reached:
        raise ConfigError(f"skip: --step must be a step that has been trained, from 1 to {reached}; got {wanted}")
    store = session.store
    with session.budget.measure("save"):
        store.wait()
    before = [info for info in store.common_infos() if info.step < step]
    info, refused = session.interruptible(lambda: choose(before, "latest", store.verify), None)
    for refusal in refused:
        session.reporter.publish(Checkpoint(state="refused", step=refusal.step, reason=refusal.reason))
    if info is None and session.run.origin.exists():
        raise CheckpointError(f"skip: {session.run.path} is a fork and has no checkpoint before step {step}")
    _require_one_text(session, info.step if info is not None else 0, step)
    return RewindDueError(step, info)


def _require_one_text(session: Session, begin: int, step: int) -> None:
    """Refuse a step behind a rollback that no checkpoint holds yet: the text before it would come again.

    Raises:
        ConfigError: there is such a rollback.
    """
    jumps = session.world.decide(lambda: [jump.after for jump in read_timeline(read_events(session.run.events)).jumps])
    if any(begin <= after < step for after in jumps):
        raise ConfigError(
            f"skip: the run went back to step {begin} by itself and has saved no checkpoint before step {step} since; "
            "save one, and skip a later step"
        )


def rewind(trainer: Trainer, due: RewindDueError) -> None:
    """Go back; newer checkpoints are set aside. The event is the record by which a resume leaves out the same batch.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        RunDirError: the event cannot be written.
        StopRequestedError: by a signal while it is read.
    """
    session, info = trainer.session, due.info
    meta, step = (info.meta, info.step) if info is not None else ({}, 0)
    # A kill between this and the event leaves a run that continues as if the user had not asked.
    session.store.set_aside(step, SET_ASIDE)
    progress = dataclasses.replace(TrainProgress.from_meta(step, meta), unfinished_jobs=[])
    rollbacks = progress.rollbacks
    session.reporter.publish(
        RolledBack(
            step=step,
            from_step=trainer.progress.step,
            skipped_step=due.step,
            cause="user",
            lr_factor=rollbacks.lr_factor,
            until_step=rollbacks.until_step,
            in_a_row=rollbacks.in_a_row,
            count=rollbacks.count,
            message=due.words,
        )
    )
    trainer.read_skips()
    skips = trainer.skips
    if due.step not in skips:
        raise RunDirError(f"skip: {session.run.events} cannot be written, and a resume would not leave out the batch")
    trainer.give_up_state(progress)
    with session.budget.measure("startup"):
        state, data_state = session.interruptible(lambda: _load(session, info), None)
    session.budget.give_up(meta.get("time_budget_seconds", {}))
    trainer.continue_from(state, data_state)
    trainer.skips = skips


def _load(session: Session, info: CheckpointInfo | None) -> tuple[TrainState, dict[str, Any]]:
    if info is None:
        return session.blueprint.first_state(), session.data.packing_iterator().get_state()
    return load_state(info, session.blueprint)
