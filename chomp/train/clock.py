"""Where the time of a run went, and how fast it trains.

A category is measured while it runs; training is what remains. The totals are saved in
every checkpoint, so that they describe the run and not only its last process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from chomp.record.events import Event, Phase, RunEnded, RunStarted
from chomp.record.json_text import number

CATEGORIES = ("startup", "compile", "train", "data_wait", "eval", "sample", "save", "paused", "lost")
# Not part of a step: a window of completed steps leaves them out of its seconds.
OUTSIDE_STEPS = ("startup", "compile", "eval", "sample", "save", "paused")


class TimeBudget:
    """Seconds by category, from monotonic clock readings.

    Args:
        earlier: totals of the run's earlier attempts up to the restored checkpoint.
        now: clock in seconds, replaceable in tests.
    """

    def __init__(self, earlier: Mapping[str, float] | None = None, *, now: Callable[[], float] = time.monotonic):
        self._clock = now
        self._suspended_seconds = 0.0
        self._began = self.now()
        self._measured = dict.fromkeys(CATEGORIES, 0.0)
        self._earlier = {name: float((earlier or {}).get(name, 0.0)) for name in CATEGORIES}
        self._open: tuple[str, float] | None = None

    def now(self) -> float:
        """The clock, which stops while the process is suspended."""
        return self._clock() - self._suspended_seconds

    def suspended(self, seconds: float) -> None:
        """The process was stopped for so long until now; callable from any thread."""
        self._suspended_seconds += seconds

    def start_from(self, earlier: Mapping[str, float]) -> None:
        """Add the totals of earlier attempts, once a checkpoint is chosen."""
        self._earlier = {name: float(earlier.get(name, 0.0)) for name in CATEGORIES}

    @contextmanager
    def measure(self, category: str) -> Iterator[None]:
        """Count the body's seconds under `category`; a nested category is taken out of the outer one."""
        outer = self._open
        started = self.now()
        if outer is not None:
            self._measured[outer[0]] += started - outer[1]
        self._open = (category, started)
        try:
            yield
        finally:
            ended = self.now()
            self._measured[category] += ended - self._open[1]
            self._open = None if outer is None else (outer[0], ended)

    def give_up(self, since: Mapping[str, float]) -> None:
        """Count the training since the totals `since`, and its wait for data, as lost."""
        totals = self.totals()
        trained, waited = (max(0.0, totals[name] - since.get(name, 0.0)) for name in ("train", "data_wait"))
        self._measured["lost"] += trained + waited
        self._measured["data_wait"] -= waited

    def outside_steps(self) -> float:
        """Seconds of this attempt that belong to no step."""
        return sum(self._measured[name] for name in OUTSIDE_STEPS)

    def is_outside_steps(self) -> bool:
        """Whether what is measured now belongs to no step; callable from any thread."""
        measuring = self._open
        return measuring is not None and measuring[0] in OUTSIDE_STEPS

    def totals(self) -> dict[str, float]:
        """Seconds by category over all attempts, rounded to milliseconds."""
        elapsed = self.now() - self._began
        here = dict(self._measured)
        if self._open is not None:
            here[self._open[0]] += self.now() - self._open[1]
        here["train"] = max(0.0, elapsed - sum(here.values()))
        here["paused"] += self._suspended_seconds
        return {name: round(self._earlier[name] + here[name], 3) for name in CATEGORIES}


@dataclass(frozen=True)
class WindowSpeed:
    """Speed over the steps completed since the last row."""

    steps: int
    tokens: int
    seconds: float

    @property
    def tokens_per_sec(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def step_time_s(self) -> float:
        return self.seconds / self.steps if self.steps else 0.0


class SpeedMeter:
    """Times completed steps from completion to completion by the budget's clock, without what is not a step."""

    def __init__(self, budget: TimeBudget):
        self._budget = budget
        self._steps = 0
        self._tokens = 0
        self.restart()

    def restart(self) -> None:
        """Begin a window here."""
        self._steps = self._tokens = 0
        self._began = self._budget.now()
        self._outside = self._budget.outside_steps()

    def completed(self, tokens: int) -> None:
        """Count one completed step of so many loss tokens."""
        self._steps += 1
        self._tokens += tokens

    def read(self) -> WindowSpeed:
        """The window so far."""
        seconds = (self._budget.now() - self._began) - (self._budget.outside_steps() - self._outside)
        return WindowSpeed(self._steps, self._tokens, max(seconds, 0.0))


def seconds_beyond(events: Iterable[Event], since: float) -> float:
    """Seconds that the attempts in `events` worked after `since` (Unix time).

    An attempt lasts from its start to its end, or to its last event or row if it was killed; time between
    two attempts, such as a resume that was refused, does not count.
    """
    total, began, last = 0.0, None, 0.0
    for event in events:
        # A new engine's first event is that it reads the data: it does not belong to the attempt before.
        arrival = event if isinstance(event, Phase) and event.name == "data" else None
        if arrival is None:
            last = event.t
        elif (row_t := number(arrival.last_row_t)) > last:
            last = row_t
        if (arrival or isinstance(event, RunEnded)) and began is not None:
            total += max(0.0, last - max(began, since))
            began = None
        if isinstance(event, RunStarted):
            began = event.t
    return total + (max(0.0, last - max(began, since)) if began is not None else 0.0)
