"""A daemon thread that looks at something again and again and delivers what it finds."""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from chomp_tui.platform.background import start_thread

News = TypeVar("News")
log = logging.getLogger("chomp.console")


class Poller(abc.ABC, Generic[News]):
    """Calls `look` at intervals, from `start` to `stop`; a look that hangs does not keep the program alive.

    Args:
        deliver: called in the thread with everything that a look yields.
        interval_seconds: between two looks.
        name: of the thread.
    """

    def __init__(self, deliver: Callable[[News], None], *, interval_seconds: float, name: str) -> None:
        self._deliver = deliver
        self._interval_seconds = interval_seconds
        self._name = name
        self._awake = threading.Event()
        self._paused = False
        self.stopped = False

    @abc.abstractmethod
    def look(self) -> Iterator[News]:
        """Look once; called in the thread."""

    def start(self) -> None:
        """Begin; the first look is at once."""
        start_thread(self._run, self._name)

    def stop(self) -> None:
        """End the thread soon; returns at once, and nothing more is delivered."""
        self.stopped = True
        self._awake.set()

    def poke(self) -> None:
        """Look now instead of at the next interval."""
        self._awake.set()

    def pause(self, paused: bool) -> None:
        """Stop looking until this is called with False."""
        self._paused = paused
        self._awake.set()

    def pace(self, seconds: float) -> None:
        """Change the interval."""
        self._interval_seconds = seconds

    def _run(self) -> None:
        while True:
            # Before `stopped` is read, so that a stop at any time ends the wait below.
            self._awake.clear()
            if self.stopped:
                return
            if not self._paused:
                try:
                    for news in self.look():
                        if self.stopped:
                            return
                        self._deliver(news)
                except Exception:
                    # The next look may succeed; a thread that ended would leave the screen as it is for good.
                    log.exception("%s: a look failed", self._name)
            self._awake.wait(self._interval_seconds)
