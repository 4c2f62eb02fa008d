"""What a process of several tells the others at each step."""

from __future__ import annotations

from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook
from chomp.train.progress import Pending
from chomp.train.session import Session
from chomp.train.trainer import Trainer

# Steps over which the host's own time is averaged.
WINDOW = 16


class ProcessHook(Hook):
    """Counts completed steps for the watchdog, and measures what this host does itself in a step.

    Devices wait for each other in every step, so that a slow one makes the step longer on all of them alike. What
    differs is how long a host did not wait for its devices: it read text, or its cores were busy.
    """

    def __init__(self, session: Session):
        self._session = session
        self._beacon = session.processes.beacon
        self._steps = 0
        self._began: tuple[float, float] = (0.0, 0.0)

    def on_start(self, trainer: Trainer) -> None:
        self._restart(trainer)

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        self._beacon.step = completed.step
        self._beacon.dispatched = trainer.dispatched
        self._beacon.marks += 1
        self._steps += 1
        if self._steps == WINDOW:
            began, waited = self._began
            budget = self._session.budget
            spent = budget.now() - budget.outside_steps() - began
            self._beacon.host_seconds = max(0.0, spent - (trainer.waited_seconds - waited)) / WINDOW
            self._restart(trainer)

    def on_rollback(self, trainer: Trainer) -> None:
        self._restart(trainer)

    def _restart(self, trainer: Trainer) -> None:
        budget = self._session.budget
        self._steps, self._began = 0, (budget.now() - budget.outside_steps(), trainer.waited_seconds)
