"""Following a run for a screen: its feed, its facts, whether its engine lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
from textual.message import Message

from chomp_tui.live.feed import RunFeed, RunUpdate
from chomp_tui.live.launched import Launched
from chomp_tui.live.run_facts import RunFacts, read_facts
from chomp_tui.platform.background import start_thread

# Between two looks at the run: the second while all cores work, because threads of a step that wait for each other lose
# what any of them loses. At the second the console takes 1 % of a core (`benchmarks/console_live.py`).
REST_SECONDS, REST_WHERE_ALL_WORK_SECONDS = 0.5, 4.0


# The system counts idle time in hundredths of a second: a shorter time says nothing.
LEAST_WINDOW_SECONDS = 0.25


class Cores:
    """How busy this machine was between two looks."""

    def __init__(self) -> None:
        self._looked_at, self._idle, self._all_work = time.monotonic(), _idle_seconds(), False

    def all_work(self) -> bool:
        """Whether less than a core was idle since the last look; the last answer where that was a moment ago."""
        now = time.monotonic()
        if now - self._looked_at >= LEAST_WINDOW_SECONDS:
            idle = _idle_seconds()
            self._all_work = idle - self._idle < now - self._looked_at
            self._looked_at, self._idle = now, idle
        return self._all_work


def _idle_seconds() -> float:
    """Of all cores together since the machine was started."""
    try:
        return float(psutil.cpu_times().idle)
    except OSError:
        # Some sandboxes hide it: as if training used all cores.
        return 0.0


class RunFollower:
    """Follows one run at a time; its threads post messages, and the screen passes those back to `accept`.

    Args:
        post: posts a message to the screen, from any thread.
        live: pids of living engines by run, updated here.

    Attributes:
        token: identifies the run that is followed, in messages.
        update: the newest one, None before the first.
        launched: the engine that this console started, until its first event.
        rest_seconds: between two looks at the run.
    """

    class Updated(Message):
        """The feed has news; `token` identifies the run that it followed."""

        def __init__(self, token: int, update: RunUpdate) -> None:
            super().__init__()
            self.token = token
            self.update = update

    class FactsRead(Message):
        """The facts beside the events were read."""

        def __init__(self, token: int, facts: RunFacts) -> None:
            super().__init__()
            self.token = token
            self.facts = facts

    def __init__(self, post: Callable[[Message], None], live: dict[Path, int]) -> None:
        self._post = post
        self._live = live
        self.token = 0
        self._feed: RunFeed | None = None
        self._cores = Cores()
        self._path = Path()
        self._facts_of: object = None
        self.update: RunUpdate | None = None
        self.launched: Launched | None = None
        self.facts = RunFacts()
        self.rest_seconds = REST_SECONDS

    @property
    def launched_at(self) -> float | None:
        """Unix time at which the process of the run's engine was started; None where it is not known."""
        if self.launched is not None:
            return self.launched.at
        liveness = self.update.liveness if self.update is not None else None
        return liveness.since if liveness is not None and liveness.pid is not None else None

    def follow(self, path: Path) -> None:
        """Follow the run at `path` from now on, and no other."""
        self.stop()
        self._path = path
        self.token += 1
        self.update, self.facts, self._facts_of = None, RunFacts(), None
        self.rest_seconds = REST_SECONDS
        pid = self._live.get(path)
        self.launched = Launched(pid, time.time()) if pid is not None else None
        token = self.token
        self._feed = RunFeed(path, lambda update: self._post(self.Updated(token, update)))
        self._feed.start()

    def stop(self) -> None:
        """Stop following; the last update stays."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def poke(self) -> None:
        """Look at the run now."""
        if self._feed is not None:
            self._feed.poke()

    def accept(self, message: Updated | FactsRead) -> bool:
        """Take a message in; returns whether it is of the run that is followed now."""
        if message.token != self.token:
            return False
        if isinstance(message, self.FactsRead):
            self.facts = message.facts
            return True
        self.update = message.update
        self._keep_pace()
        self._note_life(message.update)
        self._read_facts(message.update)
        return True

    def check_launched(self) -> None:
        """See whether an engine without a first event still lives."""
        if self.update is not None and self.update.liveness.pid is None and self.launched is not None:
            self._note_life(self.update)

    def _keep_pace(self) -> None:
        """Let the feed rest longer while all cores work."""
        if self._feed is not None:
            self.rest_seconds = REST_WHERE_ALL_WORK_SECONDS if self._cores.all_work() else REST_SECONDS
            self._feed.pace(self.rest_seconds)

    def _note_life(self, update: RunUpdate) -> None:
        if update.liveness.pid is not None:
            self._live[self._path] = update.liveness.pid
            self.launched = None
            return
        if self.launched is not None:
            self.launched = self.launched.looked_at()
        if self.launched is None or self.launched.died:
            self._live.pop(self._path, None)

    def _read_facts(self, update: RunUpdate) -> None:
        """Read the facts, again for each attempt: it may have other settings."""
        attempt = (update.view.attempts, update.view.started is not None)
        if attempt == self._facts_of:
            return
        self._facts_of = attempt
        token = self.token
        start_thread(lambda: self._post(self.FactsRead(token, read_facts(update.run))), "run-facts")
