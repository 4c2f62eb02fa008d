"""Traces a few steps with JAX's profiler: `train.profile`, and `profile` from the user."""

from __future__ import annotations

import logging
import math

import jax

from chomp.config.train import MOST_PROFILED, ProfileConfig
from chomp.errors import ConfigError
from chomp.record.commands import Command
from chomp.record.events import Profiled, Warned
from chomp.record.formatting import plural
from chomp.train.hooks.base import Hook
from chomp.train.operations import names_of, read_trace
from chomp.train.session import Session
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.profile")


class ProfileHook(Hook):
    """Begins a trace after all other work of the step before, and ends it before that of its last step.

    All processes of a run wait for the same steps, so that they meet as without a trace; the leader alone records. A
    profiler that fails is a warning.
    """

    command = "profile"

    def __init__(self, session: Session):
        self._session = session
        profile = session.config.train.profile
        self._start, self._steps = (None if session.request.dry_run else profile.start), profile.steps
        # From the moment that the trace begins.
        self._traced: range | None = None
        self._trainer: Trainer | None = None
        self._is_recording = self._is_stuck = False
        self._began = 0.0

    def is_due(self, step: int, last: int) -> bool:
        if self._traced is not None:
            return step >= min(self._traced[-1], last)
        return self._start is not None and step == self._start - 1

    def is_due_at_end(self, trainer: Trainer) -> bool:
        return self._traced is not None

    def on_start(self, trainer: Trainer) -> None:
        self.poll(trainer)

    def on_step(self, trainer: Trainer) -> None:
        if self._traced is not None:
            self._end(trainer.progress.step)

    def on_command(self, trainer: Trainer, command: Command) -> str:
        steps, last = command.args.get("steps", ProfileConfig().steps), trainer.config.train.steps
        if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_PROFILED:
            raise ConfigError(f"a trace has 1 to {MOST_PROFILED} steps, got {str(steps)[:40]!a}")
        if self._traced is not None:
            raise ConfigError(f"a trace up to step {self._traced[-1]:,} is being recorded; wait for its end")
        # The step after this one is dispatched first.
        first = trainer.dispatched + 2
        if first > last:
            raise ConfigError(f"the run ends at step {last:,}: no step is left to profile")
        self._start, self._steps = first, steps
        return f"profiles {plural(min(steps, last - first + 1), 'step')} from step {first:,} on"

    def poll(self, trainer: Trainer) -> None:
        """Begin, after the work of the step before: the device is idle, because `on_step` was due there."""
        if self._traced is None and self._start == trainer.dispatched + 1:
            self._traced, self._start = range(self._start, self._start + self._steps), None
            if self._session.world.is_leader:
                self._record(trainer)

    def on_rollback(self, trainer: Trainer) -> None:
        if self._traced is not None:
            self._end(0)

    def close(self) -> None:
        if self._trainer is not None and self._traced is not None:
            self._end(self._trainer.progress.step)

    def _record(self, trainer: Trainer) -> None:
        options = jax.profiler.ProfileOptions()
        # Without Python's calls, which are most of a trace and tell little of a compiled step.
        options.python_tracer_level = 0
        options.host_tracer_level = 1
        assert self._traced is not None
        folder = self._session.claim.files.profile / f"step-{self._traced[0]}"
        try:
            if self._is_stuck:
                # The profiler keeps a trace that it could not write, and records no other.
                jax.profiler.stop_trace()
            jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
        except Exception as error:  # noqa: BLE001 - training goes on without a profile
            self._warn(error)
            return
        self._trainer, self._is_recording, self._is_stuck = trainer, True, False
        self._began = self._clock()

    def _end(self, step: int) -> None:
        """End the trace with so many completed steps; one without is not reported."""
        assert self._traced is not None
        if self._is_recording:
            seconds = self._clock() - self._began
            with self._session.budget.measure("save"):
                try:
                    self._write(step - self._traced[0] + 1, seconds)
                except Exception as error:  # noqa: BLE001 - training goes on without a profile
                    self._warn(error)
        self._traced, self._is_recording = None, False

    def _write(self, steps: int, seconds: float) -> None:
        self._is_stuck = True
        jax.profiler.stop_trace()
        self._is_stuck = False
        if steps < 1:
            return
        assert self._traced is not None
        assert self._trainer is not None
        assert self._trainer.program is not None
        files, placement = self._session.claim.files, self._session.blueprint.placement
        folder = files.profile / f"step-{self._traced[0]}"
        report = read_trace(folder, names_of(self._trainer.program.step))
        self._session.reporter.publish(
            Profiled(
                step=self._traced[0] + steps - 1,
                steps=steps,
                seconds=round(seconds, 6),
                path=str(folder.relative_to(files.path)),
                bytes=report.bytes,
                devices=max(1, placement.count // self._session.world.count),
                busy_seconds=math.nan if report.busy_seconds is None else round(report.busy_seconds, 6),
                operations=report.operations,
            )
        )

    def _warn(self, error: Exception) -> None:
        log.info("no profile", exc_info=error)
        assert self._traced is not None
        message = f"there is no profile from step {self._traced[0]:,} on: {error}"
        self._session.reporter.publish(Warned(topic="profile", step=self._traced[0], message=message))

    def _clock(self) -> float:
        """Seconds of steps: a pause in between does not count."""
        return self._session.budget.now() - self._session.budget.outside_steps()
