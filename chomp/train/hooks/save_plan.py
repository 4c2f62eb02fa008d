"""Which steps are saved, and which checkpoints are sampled."""

from __future__ import annotations

import time

from chomp.train.hooks.evaluate import EvaluateHook
from chomp.train.session import Session


class SavePlan:
    """The `checkpoint` section's cadences, with the clock of `save_every_seconds`.

    Attributes:
        samples_of: which checkpoints are sampled: "none", "kept" or "all" of them.
    """

    def __init__(self, session: Session, evaluate: EvaluateHook):
        self._session = session
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
        # A checkpoint can only be among the best if it was evaluated, so every evaluated step is saved.
        by_step |= options.keep_best > 0 and self._evaluate.is_due(step, last)
        by_clock = options.save_every_seconds > 0 and time.monotonic() - self._last_save >= options.save_every_seconds
        return by_step or by_clock

    def is_sampled(self, step: int, *, due: bool, eval_loss: float | None = None) -> bool:
        """Whether samples belong to the checkpoint of `step`, which is saved now if `due`; the last one always is."""
        if self.samples_of == "none" or not self._session.saves:
            return False
        if step == self._session.config.train.steps:
            return True
        return due and (self.samples_of == "all" or self._session.store.will_stay(step, eval_loss))
