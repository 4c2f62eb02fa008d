"""Progress of long work on text, told to whom listens in the current context: the engine, a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from chomp.record.events import Progress

Listener = Callable[[Progress], None]

# Work that takes less says nothing. The longer it takes, the longer is the time between two reports.
FIRST_SECONDS = 2.0
MOST_SECONDS = 30.0
SHARE = 0.1

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear of the work that is done inside, in the thread that does it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class ProgressMeter:
    """Counts what is done of one piece of work.

    Args:
        what: is done, such as `converting tables`.
        unit: of what is counted: `bytes` or `rows`.
        total: None where it is not known.
    """

    def __init__(self, what: str, unit: str, total: int | None = None):
        self._what, self._unit, self._total = what, unit, total
        self._done = 0
        self._began = time.monotonic()
        self._due = self._began + FIRST_SECONDS
        self._listener = _listener.get()

    def add(self, count: int) -> None:
        """Count so much more, and report it if it is time."""
        self._done += count
        now = time.monotonic()
        if self._listener is not None and now >= self._due:
            self._due = now + min(MOST_SECONDS, max(FIRST_SECONDS, SHARE * (now - self._began)))
            self._listener(Progress(self._what, self._done, self._total, self._unit))
