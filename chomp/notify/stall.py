"""Detects that training does not advance: no step completes for much longer than usual."""

from __future__ import annotations

from collections import deque

import numpy as np

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
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._usual: float | None = None
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
            self._seconds.append(max(0.0, now - last - (outside_seconds - outside)))
            if len(self._seconds) >= LEAST:
                self._usual = float(np.median(self._seconds))
        self._last = now, outside_seconds

    def check(self, now: float, *, is_outside: bool) -> str | None:
        """A sentence if training has stalled, once for each stall; None while the engine does something else."""
        last, usual = self._last, self._usual
        if is_outside:
            self._back_at = now
        if is_outside or last is None or usual is None or last == self._told:
            return None
        silence = now - max(last[0], self._back_at)
        if silence <= max(LEAST_SECONDS, self._factor * usual):
            return None
        self._told = last
        return f"no step has completed for {duration(silence)}; a step usually takes {usual:.3g} s"
