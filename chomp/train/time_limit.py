"""`train.max_seconds`: an attempt that ends in time, with room for its last save."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from chomp.record.events import Checkpoint, Compiled, Event, Step
from chomp.record.json_text import number
from chomp.record.status import TIME_LIMIT
from chomp.sinks import Sink
from chomp.train.control import StopRequest, StopSwitch

# Until a save was measured: less than disks write.
ASSUMED_BYTES_PER_SECOND = 100e6
# The last save may wait for one that is in progress, and be slower than the slowest before.
SAVES = 2.5
STEPS = 2
EXIT_SECONDS = 1.0
# However slow the saves are, half of the time is for training.
LARGEST_SHARE = 0.5
POLL_SECONDS = 0.5


class TimeLimit(Sink):
    """Requests a stop so early that the attempt is saved within its time; a sink, because it learns from events.

    It works in a thread, so that a stop also interrupts a compilation and an evaluation.

    Args:
        limit_seconds: from `began` to the end of the last save; None for no limit.
        began: when the process was started, by the clock `now`.
        earlier_save_seconds: of a save of an earlier attempt; 0 where there is none.
    """

    name = "time limit"

    def __init__(
        self,
        limit_seconds: float | None,
        switch: StopSwitch,
        *,
        began: float,
        earlier_save_seconds: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ):
        self._limit = limit_seconds
        self._switch = switch
        self._began = began
        self._now = now
        self._saves = deque([earlier_save_seconds] if earlier_save_seconds > 0 else [], maxlen=3)
        self._state_bytes = 0
        self._step_seconds = 0.0
        self._ended = threading.Event()

    def handle(self, event: Event) -> None:
        match event:
            case Compiled():
                self._state_bytes = event.memory.get("argument", 0)
            case Checkpoint(state="committed") if event.seconds is not None:
                self._saves.append(event.seconds)
            case Step() if (seconds := number(event.row.get("step_time_s"))) > 0:
                self._step_seconds = seconds

    def reserve_seconds(self) -> float:
        """How long before the limit the stop is requested."""
        save = max(self._saves, default=self._state_bytes / ASSUMED_BYTES_PER_SECOND)
        needed = SAVES * save + STEPS * self._step_seconds + EXIT_SECONDS
        return min(needed, LARGEST_SHARE * (self._limit or 0.0))

    def remaining_seconds(self) -> float:
        """Seconds until the stop is requested."""
        assert self._limit is not None
        return self._began + self._limit - self.reserve_seconds() - self._now()

    def __enter__(self) -> TimeLimit:
        if self._limit is not None:
            threading.Thread(target=self._watch, daemon=True, name="time-limit").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(max(self.remaining_seconds(), 0.0), POLL_SECONDS)):
            if self.remaining_seconds() <= 0:
                self._switch.set(StopRequest(f"{TIME_LIMIT} (train.max_seconds: {self._limit:g})", 0))
                return
