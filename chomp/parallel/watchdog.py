"""Finds a process that is lost, hangs or has failed, and ends this one with the reason.

JAX itself does not name a process that is gone, sees none that is stuck, and ends the others by an abort. Each process
therefore sends a beacon through the key-value store, and measures by its own clock when those of others change. The
leader hears all, the others hear the leader: a run of many processes costs each of them little.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from chomp.errors import ProcessLostError
from chomp.parallel.abort import Aborts
from chomp.parallel.beacon import Beacon, Heard, Limits, Slowest, find_lost, slowest
from chomp.parallel.key_values import StoreLostError
from chomp.parallel.members import Member
from chomp.parallel.world import FAILED, LAST_WORDS_SECONDS, LOST, STOP, TOGETHER_SECONDS, Processes

EXIT_CODE = ProcessLostError.exit_code

log = logging.getLogger("chomp.watchdog")

BEAT_SECONDS = 0.5
JUDGE_SECONDS = 0.2
# The main thread may be in a collective that never ends.
MAIN_THREAD_SECONDS = 2.0


class Watchdog:
    """The two threads of a process: one speaks with the store, which may never answer; the other judges.

    Args:
        beacon: what this process tells of itself.
        on_lost: called once, in a thread, with the reason for which the run cannot go on; it must not wait for the main
            thread.
        on_stop: called with what another process has told of a stop.
        ended_by: the process that has ended the run in place of this one, while it was suspended.
        leave: ends the process with an exit code.
    """

    def __init__(
        self,
        world: Processes,
        beacon: Beacon,
        limits: Limits,
        on_lost: Callable[[str], None],
        on_stop: Callable[[Any], None],
        ended_by: Callable[[], str | None],
        leave: Callable[[int], object] = os._exit,
    ):
        self.beacon = beacon
        self._world = world
        self._limits = limits
        self._on_lost = on_lost
        self._on_stop = on_stop
        self._ended_by = ended_by
        self._leave = leave
        self._over = threading.Event()
        self._answered_at = time.monotonic()
        self._failed_at: float | None = None
        self._failed: dict[int, Any] = {}
        self._verdict: tuple[str, int] | None = None
        now = time.monotonic()
        watched = world.members if world.is_leader else world.members[:1]
        self._heard: dict[Member, Heard] = {member: Heard(heard_at=now, progress_at=now) for member in watched}
        self._aborts = Aborts(self._is_store_gone)

    def start(self) -> None:
        """Speak, listen and judge from now on."""
        self._world.verdict_seconds = self._limits.lost_after_seconds + MAIN_THREAD_SECONDS
        self._aborts.catch()
        for work, name in ((self._speak, "beacon"), (self._watch, "watchdog")):
            threading.Thread(target=work, daemon=True, name=name).start()

    def stop(self) -> None:
        """The run is over: end nothing any more, unless its end has begun."""
        self._over.set()

    def slowest(self) -> Slowest | None:
        """The slowest host of the run, in the leader."""
        return slowest(self._heard) if self._world.is_leader else None

    def _speak(self) -> None:
        number = 0
        while not self._over.wait(BEAT_SECONDS):
            number += 1
            try:
                self._exchange(number)
            except StoreLostError as error:
                # Tried again: how long it does not answer is what counts.
                log.warning("the key-value store does not answer: %s", error)

    def _exchange(self, number: int) -> None:
        store, index = self._world.store, self._world.index
        store.set(f"beacons/{index}/beacon", self.beacon.encode(number))
        texts = (
            store.under("beacons")
            if self._world.is_leader
            else {f"0/{name}": text for name, text in store.under("beacons/0").items()}
        )
        now = time.monotonic()
        for member, heard in self._heard.items():
            text = texts.get(f"{member.index}/beacon")
            if text is not None:
                heard.take(text, now)
        self._answered_at = now
        for name, said in self._world.news().items():
            self._take(name, said)

    def _take(self, name: str, said: dict[int, Any]) -> None:
        others = {index: each for index, each in said.items() if index != self._world.index}
        if name == STOP and others:
            self._on_stop(others[min(others)])
        elif name == FAILED:
            if others and self._failed_at is None:
                self._failed_at = time.monotonic()
            self._failed = said
        elif name == LOST and others:
            self._verdict = others[0]["sentence"], others[0]["exit_code"]

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(JUDGE_SECONDS):
            now = time.monotonic()
            if now - before > 10 * JUDGE_SECONDS:
                self._was_suspended(now - before)
            before = now
            found = self._judge(now)
            if found is not None and not self._world.is_ending:
                self._end(*found)
                return

    def _was_suspended(self, seconds: float) -> None:
        """This process was stopped: what it did not hear meanwhile says nothing of the others."""
        self._answered_at += seconds
        for heard in self._heard.values():
            heard.was_suspended(seconds)
        if (by := self._ended_by()) is not None:
            self._verdict = f"{by} ended the run while this process was suspended", EXIT_CODE

    def _judge(self, now: float) -> tuple[str, int] | None:
        """Why the run cannot go on, and the exit code; None where it can."""
        leader = self._world.members[0]
        last = f"last heard at step {self._heard[leader].beacon.step}"
        if self._verdict is not None:
            return self._verdict
        failure = self._judge_failures(now, at_once=self._aborts.is_lost)
        if failure is not None:
            return failure
        if self._aborts.is_lost:
            return f"{leader} is gone, and its connections with it, {last}", EXIT_CODE
        silent = now - self._answered_at
        if silent > self._limits.lost(self._heard[leader].beacon.phase):
            return f"{leader} did not answer for {silent:.0f} s, {last}", EXIT_CODE
        found = find_lost(self._heard, self._limits, now)
        return None if found is None else (found, EXIT_CODE)

    def _judge_failures(self, now: float, *, at_once: bool) -> tuple[str, int] | None:
        """The first process that failed alone; what all meet alike, each ends by itself.

        Args:
            at_once: do not wait for others to fail alike.
        """
        others = [index for index in self._failed if index != self._world.index]
        if self._failed_at is None or len(self._failed) == self._world.count or not others:
            return None
        is_early = now - self._failed_at < TOGETHER_SECONDS + BEAT_SECONDS and not at_once
        if is_early:
            return None
        told = self._failed[min(others)]
        # Before training, what is wrong is wrong for all of them.
        exit_code = int(told["exit_code"]) if self.beacon.phase == "start" else EXIT_CODE
        return f"{self._world.members[min(others)]} failed: {told['sentence']}", exit_code

    def _is_store_gone(self) -> bool:
        """Whether no answer comes from the store to what is asked from now on; called in a thread that is aborting."""
        asked = time.monotonic()
        while time.monotonic() - asked < 4 * BEAT_SECONDS:
            if self._answered_at > asked + BEAT_SECONDS:
                return False
            time.sleep(JUDGE_SECONDS)
        return True

    def _end(self, sentence: str, exit_code: int) -> None:
        # In threads: the store may not answer, nor a disk.
        if self._world.is_leader:
            _aside(lambda: self._tell_others(sentence, exit_code))
        _aside(lambda: self._on_lost(sentence)).join(LAST_WORDS_SECONDS)
        # From here on the main thread may end the process, where it does not hang.
        self._world.end(sentence, exit_code)
        time.sleep(max(MAIN_THREAD_SECONDS, LAST_WORDS_SECONDS if self._world.is_leader else 0.0))
        self._leave(exit_code)

    def _tell_others(self, sentence: str, exit_code: int) -> None:
        try:
            self._world.store.set(f"said/{LOST}/0", json.dumps({"sentence": sentence, "exit_code": exit_code}))
        except StoreLostError as error:
            log.warning("the other processes could not be told: %s", error)


def _aside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True, name="last-words")
    thread.start()
    return thread
