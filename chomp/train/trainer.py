"""Advancing a training state step by step, with the host one step behind the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from chomp.data.batch import Batch
from chomp.data.pipeline import BatchOrigin
from chomp.errors import DataError, NonFiniteError
from chomp.parallel.agreement import Agreement, Wish
from chomp.record.event_log import read_events
from chomp.record.events import Compiled, Phase, PhaseName, RollbackCause, Warned
from chomp.record.formatting import plural
from chomp.record.timeline import read_timeline
from chomp.step.state import TrainState, release_latch, release_spike_latch
from chomp.step.train_step import StepMetrics
from chomp.train.bad_step import BadStep, bad_step
from chomp.train.compilation import CompiledStep, compile_step
from chomp.train.control import StoppedReadingError, StopRequestedError, leave_together
from chomp.train.metrics import shortest_repr
from chomp.train.out_of_memory import during
from chomp.train.progress import Pending, TrainProgress
from chomp.train.session import Session


class RollbackDueError(Exception):
    """The run goes back because of a step, and the trainer is at the step before it.

    Attributes:
        step: the one that was not finite, or was a spike.
        words: its loss and gradient norm.
        data_state: the data iterator's state behind its batch.
        origin: what its batch was packed from.
        cause: why the run goes back.
    """

    def __init__(
        self,
        step: int,
        words: str,
        data_state: dict[str, Any],
        origin: BatchOrigin,
        cause: RollbackCause = "nonfinite",
    ):
        super().__init__(words)
        self.cause = cause
        self.step = step
        self.words = words
        self.data_state = data_state
        self.origin = origin


class Trainer:
    """A session's state, its data iterator and the exact account of both.

    The metrics of step k are read while step k+1 runs. Whatever needs the state or exact
    counts (evaluation, samples, saves, a pause) calls `catch_up` first.

    Attributes:
        state: the newest dispatched state.
        dispatched: its step.
        data_state: the data iterator's state after the last *completed* step's batch.
        progress: totals up to the last completed step.
        program: the compiled step; None until `compile` has made it.
        agreement: what all processes of the run do before the next step.
        waited_seconds: how long this process has waited for its devices to complete steps.
        on_completed: called with each completed step and its metrics on the host.
        phase_now: what the engine does, for the report of an error.
        skips: steps before which a batch is left out, in order; see `chomp.record.timeline`.
        between: the phase to which a hook's phase goes back: `train`, or `paused`.
    """

    def __init__(self, session: Session):
        self.session = session
        self.config = session.config
        self.state = session.state
        self.program: CompiledStep | None = None
        self.dispatched = session.start.step
        self.progress = TrainProgress.from_meta(session.start.step, session.start.meta)
        self.batches = session.data.train_iterator()
        if session.start.data_state is not None:
            self.batches.set_state(session.start.data_state)
        self.data_state: dict[str, Any] = self.batches.get_state()
        self.on_completed: Callable[[Pending, StepMetrics], None] = lambda completed, metrics: None
        self.phase_now: PhaseName = "compile"
        self.between: PhaseName = "train"
        self._pending: deque[Pending] = deque()
        self._placement, self._accum = session.blueprint.placement, session.blueprint.accum
        session.switch.on_set(session.data.cancel_retries)
        self.agreement = Agreement(session.world, self._placement)
        self.waited_seconds = 0.0
        self.skips: list[int] = []
        if session.start.attempt > 1:
            self.read_skips()

    def compile(self) -> None:
        """Make the step's program, before the first `advance`.

        Raises:
            StopRequestedError, AbortRequestedError: by a signal or a command; the compilation is left behind.
        """
        session = self.session
        session.reporter.publish(Phase(name="compile", step=self.dispatched))
        step, shape = session.blueprint.train_step(), session.blueprint.batch_shape
        watch, obtain = session.compile_watch, session.program_source()
        with session.budget.measure("compile"):
            program = session.interruptible(
                lambda: compile_step(
                    step, self.state, shape, watch, obtain, self._placement, mixture=session.derived.mixture
                ),
                self.dispatched,
            )
        self.program = program
        for note in program.notes:
            session.reporter.publish(Warned(topic="program", step=self.dispatched, message=note))
        session.reporter.publish(
            Compiled(
                seconds=round(program.seconds, 3),
                cache_hit=program.cache_hit,
                memory=program.memory,
                flops_per_token=session.blueprint.flops_per_token,
                cache=jax.config.jax_compilation_cache_dir,  # type: ignore[attr-defined]
                in_run=program.in_run,
            )
        )

    def advance(self) -> bool:
        """Dispatch one step and read the one before it; False when the text is used up."""
        with self.session.budget.measure("data_wait"):
            batch = self._next_batch()
        if batch is None:
            return False
        assert self.program is not None
        self.phase_now = "train"
        filled = int(np.count_nonzero(batch.segment_ids))
        # A profiler shows steps by this; without one it costs less than a microsecond.
        with jax.profiler.StepTraceAnnotation("train", step_num=self.dispatched + 1):
            self.state, metrics = self.program.step(self.state, self._placement.place(batch, self._accum))
        for scalar in jax.tree.leaves(metrics):
            scalar.copy_to_host_async()
        self.dispatched += 1
        self._pending.append(
            Pending(self.dispatched, metrics, self.batches.get_state(), filled, filled / batch.segment_ids.size)
        )
        while len(self._pending) > 1:
            self._complete(self._pending.popleft())
        return True

    def _next_batch(self) -> Batch | None:
        try:
            self._leave_out(self.dispatched + 1)
            return next(self.batches, None)
        except DataError:
            # A stop ends the wait for a source that has gone silent; the batch is read again after the resume.
            if self.session.switch.is_set():
                raise (StopRequestedError if self.session.world.is_alone else StoppedReadingError) from None
            raise

    def _leave_out(self, step: int) -> None:
        """Read the batches that a user leaves out before `step`."""
        for _ in range(self.skips.count(step)):
            before = self.batches.get_state()
            if next(self.batches, None) is not None:
                origin = self.session.data.documents_between(before, self.batches.get_state())
                documents = f"{plural(origin.document_count, 'document')} from number {origin.first_read + 1:,} on"
                message = f"left out a batch of {origin.source}: {documents} in the order of reading"
                self.session.reporter.publish(Warned(topic="skip", step=step, message=message))

    def read_skips(self) -> None:
        """Learn from the events which batches a user leaves out."""
        session = self.session
        self.skips = session.world.decide(lambda: list(read_timeline(read_events(session.run.events)).skips))

    def wish(self) -> Wish:
        """What this process, one of several, wants because of its stop switch."""
        return Wish.STOP if self.session.switch.is_set() else Wish.NOTHING

    def check_stop(self) -> None:
        """Leave work that all processes do together, if one of them is to stop.

        Raises:
            StopRequestedError: in all processes.
        """
        self.session.processes.beacon.marks += 1
        if self.agreement.now(self.wish) & Wish.STOP:
            self.leave_if_stopped()

    def leave_if_stopped(self) -> None:
        """Leave if a process of the run is to stop; all of them call it at the same place.

        Raises:
            StopRequestedError: in all processes.
        """
        switch = self.session.switch
        leave_together(self.session.world, switch, StopRequestedError() if switch.is_set() else None)

    def catch_up(self) -> None:
        """Wait for every dispatched step."""
        while self._pending:
            self._complete(self._pending.popleft())

    def is_ahead(self) -> bool:
        """Whether a dispatched step has not been counted in yet."""
        return bool(self._pending)

    def _complete(self, pending: Pending) -> None:
        began = time.monotonic()
        metrics: StepMetrics = jax.device_get(pending.metrics)
        self.waited_seconds += time.monotonic() - began
        bad = bad_step(pending.step, metrics, self.config.debug)
        if bad is not None:
            self._report(bad, pending)
        self.data_state = pending.data_state
        self.progress.step = pending.step
        self.progress.tokens_seen += int(metrics.tokens)
        self.progress.tokens_read += pending.tokens_read
        self.progress.loss = shortest_repr(metrics.loss)
        if metrics.by_source is not None and metrics.finite:
            self.progress.source_losses.add(self.session.data.parts, metrics.by_source)
        self.on_completed(pending, metrics)
        # Last, because a step that was skipped is done all the same: its batch is used and its row is due.
        if bad is not None and bad.in_a_row >= bad.most_in_a_row:
            raise NonFiniteError(f"{bad.words}; {bad.in_a_row} steps in a row were skipped ({bad.limit})")

    def _report(self, bad: BadStep, pending: Pending) -> None:
        """Publish a bad step, and leave it where the policy is not to skip it.

        Raises:
            RollbackDueError, NonFiniteError: by the policy; the trainer is at the step before.
        """
        step = pending.step
        origin = self.session.data.documents_between(self.data_state, pending.data_state)
        self.session.reporter.publish(replace(bad.event, **origin._asdict()))
        if bad.event.action == "skip":
            return
        self._return_to(step - 1)
        if bad.event.action == "rollback":
            raise RollbackDueError(step, bad.words, pending.data_state, origin, bad.cause)
        raise NonFiniteError(
            f"{bad.words}; the parameters are those of step {step - 1}. Resume from there with a lower learning rate "
            "(-o optim.lr=… --accept optim.lr) or skip the bad batch with -o debug.nonfinite=skip"
        )

    def _return_to(self, step: int) -> None:
        """Forget the steps that the latched state refused; `data_state` still is that of `step`."""
        self._pending.clear()
        self.dispatched = step
        self.state = release_spike_latch(release_latch(self.state))

    def give_up_state(self, progress: TrainProgress) -> None:
        """Free the state's memory and go, without a state, to the step of `progress`."""
        for leaf in jax.tree.leaves(self.state):
            leaf.delete()
        self.progress, self.dispatched = progress, progress.step

    def continue_from(self, state: TrainState, data_state: dict[str, Any]) -> None:
        """Train from `state`, which is that of `progress.step`, with the text after `data_state`."""
        self.state, self.data_state = state, data_state
        # A new iterator: the one before has read ahead.
        self.batches.close()
        self.batches = self.session.data.train_iterator()
        self.batches.set_state(data_state)
        # What was left out beyond this step is behind.
        self.skips = [step for step in self.skips if step <= self.dispatched]

    def publish_phase(self, name: PhaseName) -> None:
        """Publish that a phase begins at the last completed step."""
        self.phase_now = name
        self.session.reporter.publish(Phase(name=name, step=self.progress.step))

    @contextmanager
    def phase(self, name: PhaseName) -> Iterator[None]:
        """Publish that a phase begins, count its seconds, and publish that training, or the pause, continues.

        After an error no phase follows: the end of the run, or the answer to the command, reports it.
        """
        self.publish_phase(name)
        with self.session.budget.measure(name):
            yield
        self.publish_phase(self.between)

    def explained(self, error: Exception) -> Exception:
        """`error`, or for a failed allocation the sentence about it; the completed steps are counted."""
        compiled = self.program.memory if self.program is not None else None
        return during(error, self.phase_now, self.progress.step, self.session.blueprint, compiled)

    def close(self) -> None:
        """Stop preparing batches."""
        self.batches.close()

    def is_settled(self) -> bool:
        """Whether the state is that of `progress.step` and its arrays exist: a failed step may have consumed them."""
        return self.dispatched == self.progress.step and not any(
            leaf.is_deleted() for leaf in jax.tree.leaves(self.state)
        )
