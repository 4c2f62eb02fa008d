"""Detects that training does not advance: no step completes for much longer than usual."""

from __future__ import annotations

import statistics
import threading
from collections import deque

from chomp.record.formatting import duration

WINDOW = 50
# Before so many steps the usual time is not known.
LEAST = 5
LEAST_SECONDS = 60.0


class StallDetector:
    """Compares the time since the last completed step with the usual time of a step.

    `completed` and `check` may be called in two threads.

    Args:
        factor: how many times the usual step time is too long.
    """

    def __init__(self, factor: float):
        self._factor = factor
        # The training loop only adds to it; the median is computed where it is needed.
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._adding = threading.Lock()
        # Clock time of the last completed step, and the seconds until then that belong to no step.
        self._last: tuple[float, float] | None = None
        self._back_at = 0.0
        self._told: tuple[float, float] | None = None

    def completed(self, now: float, outside_seconds: float) -> None:
        """A step is complete.

        Args:
            now: clock time in seconds.
            outside_seconds: total of the seconds so far that belong to no step, such as evaluations and pauses.
        """
        if self._last is not None:
            last, outside = self._last
            with self._adding:
                self._seconds.append(max(0.0, now - last - (outside_seconds - outside)))
        self._last = now, outside_seconds

    def check(self, now: float, *, is_outside: bool) -> str | None:
        """A sentence if training has stalled, once for each stall; None while the engine does something else."""
        last = self._last
        if is_outside:
            self._back_at = now
        if is_outside or last is None or last == self._told:
            return None
        with self._adding:
            seconds = list(self._seconds)
        if len(seconds) < LEAST:
            return None
        usual = statistics.median(seconds)
        silence = now - max(last[0], self._back_at)
        if silence <= max(LEAST_SECONDS, self._factor * usual):
            return None
        self._told = last
        return f"no step has completed for {duration(silence)}; a step usually takes {usual:.3g} s"
