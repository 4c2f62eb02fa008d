"""Warns of what a user wants to hear while training goes on: loss spikes, stalled steps, a disk that fills up."""

from __future__ import annotations

import math
import shutil
import threading
from collections import deque
from typing import Any

import numpy as np

from chomp.checkpoint.room import bytes_needed
from chomp.notify.spike import IN_A_ROW, spike_words
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
        # Finite steps, one of which a spike may turn out to begin with, and the data states before and after each.
        self._last: deque[tuple[int, Any, Any]] = deque(maxlen=IN_A_ROW)
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
            self._look_for_spike(trainer, completed, metrics)
        self._data_state = completed.data_state

    def on_rollback(self, trainer: Trainer) -> None:
        # The progress is that of the checkpoint again, with the losses before it.
        self._last.clear()
        self._data_state = trainer.data_state

    def _look_for_spike(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        config = self._session.config
        loss, grad_norm = float(metrics.loss), float(metrics.grad_norm)
        judged = completed.step > config.optim.warmup_steps
        detector = trainer.progress.spikes
        first = detector.add(completed.step, loss, grad_norm, config.debug.spike_deviations, judged=judged)
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._last.append((completed.step, self._data_state, completed.data_state))
        if first is None:
            return
        # Of a step before this attempt the data states are not known.
        known = {step: (before, after) for step, before, after in self._last}.get(first.step)
        origin = self._session.data.documents_between(*known)._asdict() if known is not None else {}
        words = spike_words(first.step, first.loss, first.grad_norm, first.limits)
        self._session.reporter.publish(
            Spike(
                step=first.step,
                loss=shortest_repr(np.float32(first.loss)),
                grad_norm=shortest_repr(np.float32(first.grad_norm)),
                loss_limit=float(first.limits.loss),
                grad_norm_limit=float(first.limits.grad_norm),
                action="warn",
                message=f"{words}: it is the first of {IN_A_ROW} steps in a row above a limit",
                **origin,
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
