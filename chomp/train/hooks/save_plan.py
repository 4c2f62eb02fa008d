"""Which steps are saved, and which checkpoints are sampled."""

from __future__ import annotations

import time

from chomp.parallel.agreement import Wish
from chomp.train.hooks.evaluate import EvaluateHook
from chomp.train.trainer import Trainer


class SavePlan:
    """The `checkpoint` section's cadences, with the clock of `save_every_seconds`.

    Attributes:
        samples_of: which checkpoints are sampled: "none", "kept" or "all" of them.
    """

    def __init__(self, trainer: Trainer, evaluate: EvaluateHook):
        session = trainer.session
        self._session = session
        self._agreement = trainer.agreement
        self._evaluate = evaluate
        train = session.config.train
        automatic = "kept" if train.generate_every > 0 else "none"
        self.samples_of = automatic if train.generate_for_checkpoints == "auto" else train.generate_for_checkpoints
        self.restart_clock()

    def restart_clock(self) -> None:
        """A save begins now, or training does."""
        self._last_save = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether `step` is saved."""
        options, last = self._session.config.checkpoint, self._session.config.train.steps
        if not self._session.saves:
            return False
        by_step = any(every > 0 and step % every == 0 for every in (options.save_every, options.keep_every))
        # A checkpoint can only be among the best if it was evaluated, so every such step is saved.
        by_step |= options.keep_best > 0 and self._evaluate.ranks(step, last)
        return by_step or (self.is_time() if self._session.world.is_alone else bool(self._agreement.agreed & Wish.SAVE))

    def is_time(self) -> bool:
        """Whether the clock calls for a save; of several processes, the leader's."""
        seconds = self._session.config.checkpoint.save_every_seconds
        return (
            self._session.world.is_leader
            and self._session.saves
            and seconds > 0
            and time.monotonic() - self._last_save >= seconds
        )

    def is_sampled(self, step: int, *, due: bool, rank: float | None = None) -> bool:
        """Whether samples belong to the checkpoint of `step`, which is saved now if `due`; the last one always is."""
        if self.samples_of == "none" or not self._session.saves:
            return False
        if step == self._session.config.train.steps:
            return True
        return due and (self.samples_of == "all" or self._session.store.will_stay(step, rank))
