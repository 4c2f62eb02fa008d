"""An attempt's part in a run of several processes: what it tells the others, and how it ends with them."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from chomp.config.parallel import ParallelConfig
from chomp.errors import ChompError, ProcessLostError
from chomp.parallel.beacon import Beacon, Limits
from chomp.parallel.key_values import StoreLostError
from chomp.parallel.watchdog import Watchdog
from chomp.parallel.world import FAILED, STOP, Processes, World
from chomp.record.events import Event, Phase
from chomp.sinks import Reporter, Sink
from chomp.train.control import (
    AbortRequestedError,
    StoppedReadingError,
    StopRequest,
    StopRequestedError,
    StopSwitch,
)

log = logging.getLogger("chomp.processes")


class RunProcesses:
    """The watchdog of one process, and the stop requests that it passes on; of a run of one process, nothing.

    Attributes:
        beacon: what this process tells of itself.
    """

    def __init__(self, world: World, settings: ParallelConfig):
        self.world = world
        self.beacon = Beacon()
        self._on_lost: Callable[[str], None] = log.error
        self._ended_by: Callable[[], str | None] = lambda: None
        self._switch: StopSwitch | None = None
        self._watchdog: Watchdog | None = None
        if isinstance(world, Processes):
            limits = Limits(settings.lost_after_seconds, settings.stall_after_seconds)
            self._watchdog = Watchdog(
                world, self.beacon, limits, self._lost, self._stop_elsewhere, lambda: self._ended_by()
            )

    def __enter__(self) -> RunProcesses:
        if self._watchdog is not None:
            self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the others of an error that ends this process before training; leave them."""
        if isinstance(error, Exception) and not isinstance(error, ProcessLostError):
            self._fails_with_all(error, settled=False)
        if self._watchdog is not None:
            self._watchdog.stop()
        self.world.leave()

    def follow(
        self,
        switch: StopSwitch,
        reporter: Reporter,
        on_lost: Callable[[str], None],
        ended_by: Callable[[], str | None],
    ) -> None:
        """From now on pass stop requests on, and tell the others in which phase this process is.

        Args:
            on_lost: see `Watchdog`.
            ended_by: see `Watchdog`.
        """
        if self.world.is_alone:
            return
        self._switch, self._on_lost, self._ended_by = switch, on_lost, ended_by
        reporter.add(PhaseSink(self.beacon))
        switch.on_set(lambda: threading.Thread(target=self._pass_on, daemon=True, name="stop-news").start())

    def before_training(self, error: Exception) -> Exception:
        """The error that ends the attempt before its first step, after the others were told of it."""
        if self.world.is_alone or isinstance(error, StopRequestedError | AbortRequestedError | ProcessLostError):
            return error
        lost = self.world.loss_behind(error)
        if lost is None:
            self._fails_with_all(error, settled=False)
        return lost or error

    def end_with_all(self, cause: Exception, *, settled: bool) -> bool:
        """Whether all processes end at this step for a reason that all meet; the others are told of this one's.

        Args:
            settled: this process has a whole state of its last completed step.
        """
        # An agreed stop; a stop that found a process waiting for text was its alone.
        agreed = isinstance(cause, StopRequestedError) and not isinstance(cause, StoppedReadingError)
        if self.world.is_alone or agreed:
            return True
        return self._fails_with_all(cause, settled=settled)

    def common_exit_code(self, exit_code: int) -> int:
        """The exit code of all processes that end the run together: the leader's, or of another that fails."""
        if self.world.is_alone or self.world.is_parted:
            return exit_code
        codes = self.world.meet(exit_code)
        return codes[0] or max(codes)

    def say_failed(self, sentence: str, exit_code: int) -> None:
        """Tell the others that this process leaves at once."""
        with contextlib.suppress(StoreLostError, ProcessLostError):
            self.world.say(FAILED, {"sentence": sentence, "exit_code": exit_code, "step": 0, "settled": False})

    def _fails_with_all(self, error: Exception, *, settled: bool) -> bool:
        exit_code = error.exit_code if isinstance(error, ChompError) else 1
        said = str(error) if isinstance(error, ChompError) else f"{type(error).__name__}: {error}"
        return self.world.fails_with_all(
            {"sentence": said, "exit_code": exit_code, "step": self.beacon.step, "settled": settled}
        )

    def row(self) -> dict[str, float]:
        """What a metrics row says of the slowest host; nothing for one process."""
        slowest = self._watchdog.slowest() if self._watchdog is not None else None
        return slowest.row() if slowest is not None else {}

    def _lost(self, sentence: str) -> None:
        self._on_lost(sentence)

    def _stop_elsewhere(self, request: Any) -> None:
        if self._switch is not None and not self._switch.is_set():
            self._switch.set(StopRequest(**request))

    def _pass_on(self) -> None:
        assert self._switch is not None
        request = self._switch.request
        if request is not None:
            with contextlib.suppress(StoreLostError, ProcessLostError):
                self.world.say(STOP, {"reason": request.reason, "exit_code": request.exit_code})


class PhaseSink(Sink):
    """Tells the other processes in which phase this one is."""

    name = "beacon"

    def __init__(self, beacon: Beacon):
        self._beacon = beacon

    def handle(self, event: Event) -> None:
        if isinstance(event, Phase):
            # Reading the text, the checkpoint and the tokenizer belongs to the start.
            self._beacon.enter("start" if event.name == "data" else event.name)
