"""Keeps the measured time of a step for estimates of later runs."""

from __future__ import annotations

import logging
import time

from chomp.record.formatting import device_words
from chomp.record.speeds import MeasuredSpeed, keep_speed, speed_file
from chomp.step.train_step import StepMetrics
from chomp.train.clock import SpeedMeter
from chomp.train.hooks.base import Hook
from chomp.train.machine import device_facts
from chomp.train.progress import Pending
from chomp.train.session import Session
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.speed")

# The first steps wait for caches and for the first batches.
LEFT_OUT = 3
LEAST_STEPS = 10
# Categories of the time budget that come on top of the steps.
OVERHEAD = ("eval", "sample", "save")
# Seconds of training after which it is kept first; then each time after twice as long, at most after the latter.
FIRST_SECONDS, LONGEST_SECONDS = 10.0, 600.0


class SpeedHook(Hook):
    """Measures all steps of an attempt but the first few; a killed run has kept what it measured until then."""

    def __init__(self, session: Session):
        self._session = session
        self._meter = SpeedMeter(session.budget)
        self._left_out = LEFT_OUT
        self._wait_seconds = FIRST_SECONDS
        self._began = self._spent = 0.0

    def is_due(self, step: int, last: int) -> bool:
        return step == last

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        if self._left_out:
            self._left_out -= 1
            self._meter.restart()
            self._began, self._spent = self._session.budget.now(), self._overhead()
            return
        self._meter.completed(int(metrics.tokens))
        if self._session.budget.now() - self._began >= self._wait_seconds:
            self._wait_seconds += min(self._wait_seconds, LONGEST_SECONDS)
            self._keep()

    def on_step(self, trainer: Trainer) -> None:
        self._keep()

    def on_rollback(self, trainer: Trainer) -> None:
        self._left_out = LEFT_OUT

    def _overhead(self) -> float:
        totals = self._session.budget.totals()
        return sum(totals[name] for name in OVERHEAD)

    def _keep(self) -> None:
        measured = self._meter.read()
        if measured.steps < LEAST_STEPS or self._session.request.dry_run or not self._session.world.is_leader:
            return
        speed = MeasuredSpeed(
            t=round(time.time(), 3),
            run=self._session.run.name,
            steps=measured.steps,
            step_seconds=measured.step_time_s,
            overhead_seconds=(self._overhead() - self._spent) / measured.steps,
        )
        devices = device_words(device_facts(self._session.blueprint.placement))
        try:
            keep_speed(speed_file(self._session.config, devices), speed)
        except OSError as error:
            log.info("the measured speed is not kept: %s", error)
