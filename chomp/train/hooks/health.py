"""Warns of what a user wants to hear while training goes on: loss spikes, stalled steps, a disk that fills up."""

from __future__ import annotations

import shutil
import threading

from chomp.checkpoint.room import bytes_needed
from chomp.notify.spike import SpikeDetector
from chomp.notify.stall import StallDetector
from chomp.record.events import Warned
from chomp.record.formatting import plural, size
from chomp.record.manifest import list_checkpoints
from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook
from chomp.train.progress import Pending
from chomp.train.session import Session
from chomp.train.trainer import Trainer

POLL_SECONDS = 1.0
DISK_POLL_SECONDS = 60.0


class HealthHook(Hook):
    """Publishes a warning with the topic `spike`, `stalled` or `disk`.

    A thread looks after the last two: the main thread is what stalls.
    """

    def __init__(self, session: Session):
        self._session = session
        self._spike = SpikeDetector()
        self._stall = StallDetector(session.config.notify.stalled_factor)
        self._over = threading.Event()
        self._is_short = False

    def on_start(self, trainer: Trainer) -> None:
        if self._session.world.is_leader and not self._session.request.dry_run:
            threading.Thread(target=self._watch, args=(trainer,), daemon=True, name="health").start()

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        budget = self._session.budget
        self._stall.completed(budget.now(), budget.outside_steps())
        found = self._spike.add(float(metrics.loss))
        if found is not None:
            self._warn("spike", found, completed.step)

    def on_rollback(self, trainer: Trainer) -> None:
        self._spike = SpikeDetector()

    def close(self) -> None:
        self._over.set()

    def _watch(self, trainer: Trainer) -> None:
        budget, until_disk = self._session.budget, 0.0
        while not self._over.wait(POLL_SECONDS):
            found = self._stall.check(budget.now(), is_outside=budget.is_outside_steps())
            if found is not None:
                self._warn("stalled", found, trainer.progress.step)
            until_disk -= POLL_SECONDS
            if until_disk <= 0:
                until_disk = DISK_POLL_SECONDS
                self._check_disk(trainer.progress.step)

    def _check_disk(self, step: int) -> None:
        """Warn once when the disk has too little room, and again after it had enough."""
        least = self._session.config.notify.disk_checkpoints
        if not self._session.saves or not least:
            return
        folder = self._session.run.checkpoints
        try:
            needed, free = bytes_needed(list_checkpoints(folder)), shutil.disk_usage(folder).free
        except OSError:
            # The run directory is gone, or a save makes the folder anew: the save reports it.
            return
        was_short, self._is_short = self._is_short, free < least * needed
        if self._is_short and not was_short:
            room = plural(free // needed, "more checkpoint")
            self._warn("disk", f"{size(free)} free on the disk of {folder}: room for {room} of {size(needed)}", step)

    def _warn(self, topic: str, message: str, step: int) -> None:
        self._session.reporter.publish(Warned(topic=topic, message=message, step=step))
