"""The part of the run screen that follows a run: its feed, its facts, whether its engine lives."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from textual.message import Message

from chomp_tui.live.feed import RunFeed, RunUpdate
from chomp_tui.live.launched import Launched
from chomp_tui.live.run_facts import RunFacts, read_facts
from chomp_tui.screens.base import ConsoleScreen

# What is shown is brought up to date twice a second where that is cheap, and at least every three seconds. Between
# those, so that it takes a thirtieth of a core that nobody else wants, and a hundred and twentieth where all of them
# work: a step whose threads wait for each other is held up by what any of them loses.
FASTEST_SECONDS, SLOWEST_SECONDS = 0.5, 3.0
REST_PER_CPU_SECOND, REST_WHERE_ALL_WORK = 30.0, 120.0
# How often ages are looked at.
TICK_SECONDS = 1.0


def next_look_seconds(cpu_seconds: float, *, all_work: bool) -> float:
    """How long to wait after an update that took so much processor time, where all cores work or one is free."""
    rest = REST_WHERE_ALL_WORK if all_work else REST_PER_CPU_SECOND
    return min(SLOWEST_SECONDS, max(FASTEST_SECONDS, rest * cpu_seconds))


def are_ages_old(drawn_seconds_ago: float, rest_seconds: float) -> bool:
    """Whether the ages on the screen are to be drawn anew, though there are no news."""
    # Where news are waited for longer, they are given the chance to bring the new ages along.
    return drawn_seconds_ago > 0.9 * TICK_SECONDS + rest_seconds - FASTEST_SECONDS


def do_all_cores_work() -> bool:
    """Whether less than a core was idle in the last minute."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        # Not every sandbox tells: then they are taken to be the model's.
        return True
    return load > (os.cpu_count() or 1) - 1


class FollowingScreen(ConsoleScreen):
    """Follows one run at a time; threads post to it, and it alone changes anything."""

    class Updated(Message):
        """The feed has news; `token` tells which run it was following."""

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

    def __init__(self) -> None:
        super().__init__()
        self._path: Path | None = None
        self._token = 0
        self._feed: RunFeed | None = None
        self._is_up = False
        self._update: RunUpdate | None = None
        self._launched: Launched | None = None
        self._facts = RunFacts()
        self._facts_of: object = None
        self._cpu_seconds: float | None = None
        self.rest_seconds = FASTEST_SECONDS

    # What a screen does with it --------------------------------------------------------

    def forget(self) -> None:
        """Another run will be shown."""

    def clear(self, path: Path) -> None:
        """Show that the run at `path` is being read."""
        raise NotImplementedError

    def take_in(self, update: RunUpdate) -> None:
        """Keep what only this update brings."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw what has changed."""
        raise NotImplementedError

    # The run that is followed ------------------------------------------------------------

    def show_run(self, path: Path) -> None:
        """Follow the run at `path` from now on."""
        self._path = path
        self._token += 1
        self._update, self._facts, self._facts_of = None, RunFacts(), None
        self._launched = None
        self.forget()
        if self._is_up:
            self._follow()

    def _follow(self) -> None:
        self._stop_following()
        assert self._path is not None
        pid = self.chomp.state.live.get(self._path)
        self._launched = Launched(pid, time.time()) if pid is not None else None
        self.clear(self._path)
        token = self._token
        self._feed = RunFeed(self._path, lambda update: self.post_safely(self.Updated(token, update)))
        self._cpu_seconds, self.rest_seconds = None, FASTEST_SECONDS
        self._feed.start()

    def _stop_following(self) -> None:
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def on_following_screen_updated(self, message: Updated) -> None:
        if message.token != self._token:
            return
        update = self._update = message.update
        self._keep_pace()
        self.take_in(update)
        self._note_life(update)
        self._read_facts(update)
        self.redraw()

    def _keep_pace(self) -> None:
        """Let the feed rest as long as what happened since the last update calls for."""
        now, before = time.process_time(), self._cpu_seconds
        self._cpu_seconds = now
        if self._feed is not None and before is not None:
            self.rest_seconds = next_look_seconds(now - before, all_work=do_all_cores_work())
            self._feed.pace(self.rest_seconds)

    def _note_life(self, update: RunUpdate) -> None:
        """Keep what the console knows of living engines true."""
        assert self._path is not None
        live = self.chomp.state.live
        if update.liveness.pid is not None:
            live[self._path] = update.liveness.pid
            self._launched = None
            return
        if self._launched is not None:
            self._launched = self._launched.looked_at()
        if self._launched is None or self._launched.died:
            live.pop(self._path, None)

    def _read_facts(self, update: RunUpdate) -> None:
        """Read the facts, again for each attempt: it may have other settings."""
        attempt = (update.view.attempts, update.view.started is not None)
        if attempt == self._facts_of:
            return
        self._facts_of = attempt
        token = self._token

        def work() -> None:
            self.post_safely(self.FactsRead(token, read_facts(update.run)))

        threading.Thread(target=work, daemon=True, name="run-facts").start()

    def on_following_screen_facts_read(self, message: FactsRead) -> None:
        if message.token == self._token:
            self._facts = message.facts
            self.redraw()

    def look_at_launched(self) -> None:
        """See whether an engine that has not spoken yet still lives."""
        if self._update is not None and self._update.liveness.pid is None and self._launched is not None:
            self._note_life(self._update)
