"""The thread behind every list and feed: it looks at intervals, rests while paused, and ends when stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import pytest

from chomp_tui.platform.poller import Poller

PATIENCE_SECONDS = 20.0


class Counter(Poller[int]):
    """Delivers how many times it has looked."""

    def __init__(self, interval_seconds: float, deliver: Callable[[int], None] | None = None) -> None:
        self.delivered: SimpleQueue[int] = SimpleQueue()
        self.count = 0
        super().__init__(deliver or self.delivered.put, interval_seconds=interval_seconds, name="counter")

    def look(self) -> Iterator[int]:
        self.count += 1
        yield self.count
        yield -self.count

    def next(self) -> int:
        return self.delivered.get(timeout=PATIENCE_SECONDS)


def test_a_poke_looks_at_once_and_a_pace_looks_by_itself() -> None:
    counter = Counter(3600.0)
    counter.start()
    assert [counter.next(), counter.next()] == [1, -1]
    counter.pace(0.001)
    counter.poke()
    assert [counter.next() for _ in range(6)] == [2, -2, 3, -3, 4, -4]
    counter.stop()


def test_a_paused_one_does_not_look_until_it_goes_on() -> None:
    counter = Counter(0.001)
    counter.pause(True)
    counter.start()
    with pytest.raises(Empty):
        counter.delivered.get(timeout=0.2)
    counter.pause(False)
    assert counter.next() == 1
    counter.stop()


def test_a_stop_in_the_middle_of_a_look_delivers_nothing_more() -> None:
    seen: list[int] = []

    def stop(news: int) -> None:
        seen.append(news)
        counter.stop()

    counter = Counter(3600.0, stop)
    counter.start()
    for thread in threading.enumerate():
        if thread.name == "counter":
            assert thread.daemon
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
    assert seen == [1]


def test_a_look_that_fails_is_logged_and_the_next_one_is_delivered(caplog: pytest.LogCaptureFixture) -> None:
    def refuse_first(news: int) -> None:
        if news == 1:
            raise OSError("the disk is gone")
        counter.delivered.put(news)

    counter = Counter(0.001, refuse_first)
    counter.start()
    assert [counter.next(), counter.next()] == [2, -2]
    counter.stop()
    assert "counter: a look failed" in caplog.text
    assert "the disk is gone" in caplog.text
