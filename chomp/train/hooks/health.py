"""Warns of what a user wants to hear while training goes on: loss spikes, stalled steps, a disk that fills up."""

from __future__ import annotations

import math
import shutil
import threading
from collections import deque
from typing import Any

from chomp.checkpoint.room import bytes_needed
from chomp.notify.spike import IN_A_ROW, SpikeDetector, spike_words
from chomp.notify.stall import StallDetector
from chomp.record.events import Spike, Warned
from chomp.record.formatting import plural, size
from chomp.record.manifest import list_checkpoints
from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook
from chomp.train.metrics import shortest_repr
from chomp.train.progress import Pending
from chomp.train.session import Session
from chomp.train.trainer import Trainer

POLL_SECONDS = 1.0
DISK_POLL_SECONDS = 60.0


class HealthHook(Hook):
    """Publishes a spike that is only reported, and warnings with the topic `stalled` or `disk`.

    A thread looks after the warnings: the main thread is what stalls.
    """

    def __init__(self, session: Session):
        self._session = session
        self._data_state: Any = None
        self._forget_losses()
        self._stall = StallDetector(session.config.notify.stalled_factor)
        self._over = threading.Event()
        self._is_short = False

    def on_start(self, trainer: Trainer) -> None:
        self._data_state = trainer.data_state
        if self._session.world.is_leader and not self._session.request.dry_run:
            threading.Thread(target=self._watch, args=(trainer,), daemon=True, name="health").start()

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        budget = self._session.budget
        self._stall.completed(budget.now(), budget.outside_steps())
        if self._session.config.debug.spikes == "warn":
            self._look_for_spike(completed, metrics)
        self._data_state = completed.data_state

    def on_rollback(self, trainer: Trainer) -> None:
        self._forget_losses()
        self._data_state = trainer.data_state

    def _forget_losses(self) -> None:
        self._spike = SpikeDetector(self._session.config.debug.spike_deviations)
        # Finite steps, one of which a spike may turn out to begin with, and the data state before each.
        self._last: deque[tuple[Pending, StepMetrics, Any]] = deque(maxlen=IN_A_ROW)

    def _look_for_spike(self, completed: Pending, metrics: StepMetrics) -> None:
        loss, grad_norm = float(metrics.loss), float(metrics.grad_norm)
        limits = self._spike.add(loss, grad_norm, judged=completed.step > self._session.config.optim.warmup_steps)
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._last.append((completed, metrics, self._data_state))
        if limits is None:
            return
        first, metrics, before = self._last[0]
        origin = self._session.data.documents_between(before, first.data_state)
        words = spike_words(first.step, float(metrics.loss), float(metrics.grad_norm), limits)
        self._session.reporter.publish(
            Spike(
                step=first.step,
                loss=shortest_repr(metrics.loss),
                grad_norm=shortest_repr(metrics.grad_norm),
                loss_limit=float(limits.loss),
                grad_norm_limit=float(limits.grad_norm),
                action="warn",
                message=f"{words}: it is the first of {IN_A_ROW} steps in a row above a limit",
                **origin._asdict(),
            )
        )

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
