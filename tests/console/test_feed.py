"""Following files that grow, tear, shrink, vanish, lie, and belong to another user."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from chomp.record.fold import fold
from chomp.record.lock import RunLock
from chomp.record.run_view import RunView
from chomp_tui.live import line_tail
from chomp_tui.live import log_tail as logtail
from chomp_tui.live.event_tail import EventTail
from chomp_tui.live.feed import Follower, RunFeed, RunUpdate
from chomp_tui.live.log_tail import LogTail
from tests.fakeruns import T0, ended, lines, phase, row, row_lines, started, write

PATIENCE_SECONDS = 20.0


def read_all(tail: EventTail) -> RunView:
    while True:
        tail.advance(60.0)
        if tail.caught_up:
            return tail.view


class Inbox:
    """What a feed has delivered; waits for what is looked for."""

    def __init__(self) -> None:
        self.updates: list[RunUpdate] = []
        self._news = threading.Condition()

    def deliver(self, update: RunUpdate) -> None:
        with self._news:
            self.updates.append(update)
            self._news.notify_all()

    def wait_for(self, wanted: Callable[[RunUpdate], bool]) -> RunUpdate:
        with self._news:
            assert self._news.wait_for(lambda: any(map(wanted, self.updates)), PATIENCE_SECONDS), self.updates[-1:]
            return next(update for update in self.updates if wanted(update))


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def follow(inbox: Inbox) -> Iterator[Callable[[Path], RunFeed]]:
    feeds: list[RunFeed] = []

    def start(path: Path) -> RunFeed:
        feeds.append(RunFeed(path, inbox.deliver, interval_seconds=0.01))
        feeds[-1].start()
        return feeds[-1]

    yield start
    for feed in feeds:
        feed.stop()


# The event file ------------------------------------------------------------------------


def test_it_grows(tmp_path: Path) -> None:
    run = write(tmp_path / "run", [started(), row(1)], version=1)
    tail = EventTail(run / "events.jsonl")
    first = read_all(tail)
    assert first.step == 1
    tail.advance(1.0)
    assert tail.view is first
    write(run, [row(2)], version=1)
    tail.advance(1.0)
    assert tail.view == fold(RunView(), [started(), row(1), row(2)])


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    run = write(tmp_path, [started(), row(1)], version=1)
    line = lines([row(2)])
    with (run / "events.jsonl").open("ab") as file:
        file.write(line[:40])
        file.flush()
        tail = EventTail(run / "events.jsonl")
        assert read_all(tail).step == 1
        file.write(line[40:])
    assert read_all(tail).step == 2
    assert tail.malformed == 0


def test_a_line_torn_for_ever_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines([started(), row(1)]) + lines([row(2)])[:30] + b"\n" + lines([row(3)]))
    tail = EventTail(path)
    assert read_all(tail).rows["step"].tolist() == [1, 3]
    assert tail.malformed == 1


@pytest.mark.parametrize("how", ["truncated", "replaced", "rewritten in place", "gone and back"])
def test_another_file_is_read_from_its_start(tmp_path: Path, how: str) -> None:
    run = write(tmp_path, [started(), *map(row, range(1, 30))], version=1)
    path = run / "events.jsonl"
    tail = EventTail(path)
    assert read_all(tail).step == 29
    other = lines([started(), row(500)])
    longer = lines([started(), *map(row, range(500, 540))])
    if how == "truncated":
        path.write_bytes(other)
    elif how == "replaced":
        (run / "new").write_bytes(longer)
        (run / "new").replace(path)
    elif how == "rewritten in place":
        path.write_bytes(longer)
    else:
        path.unlink()
        assert len(read_all(tail).rows) == 0
        path.write_bytes(other)
    assert read_all(tail).rows["step"][0] == 500


def test_garbage_is_counted_and_said(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(
        np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes() + b"\n"
    )
    follower = Follower(tmp_path)
    # On a busy machine the first look reads only a part.
    while (update := follower.look()) is not None and follower.has_more:
        pass
    assert update is not None
    assert update.problem is not None
    assert "holds no events" in update.problem
    assert update.view == RunView()


def test_garbage_between_events_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines([started(), row(1)]) + b"\x00\xff\xfe{]\n[1]\n\n" + b"[" * 5000 + b"\n" + lines([row(2)]))
    assert read_all(EventTail(path)).rows["step"].tolist() == [1, 2]


def test_a_huge_line_is_skipped_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_tail, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(line_tail, "LONGEST_LINE_BYTES", 8000)
    path = tmp_path / "events.jsonl"
    fits = lines([row(2, note="y" * 5000)])
    path.write_bytes(lines([started(), row(1)]) + fits + b'{"v":1,"x":"' + b"x" * 50_000 + b'"}\n' + lines([row(3)]))
    tail = EventTail(path)
    assert read_all(tail).rows["step"].tolist() == [1, 2, 3]
    assert tail.malformed == 1


def test_what_is_no_plain_file_is_said_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    update = Follower(tmp_path).look()
    assert update is not None
    assert update.problem is not None
    assert "no plain file" in update.problem


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [started()])

    def refuse(path: object, *_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(line_tail.os, "open", refuse)
    update = Follower(tmp_path).look()
    assert update is not None
    assert update.problem is not None
    assert "Permission denied" in update.problem
    monkeypatch.undo()


def test_a_newer_version_is_said_once_and_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = write(tmp_path, [started(), row(1)])
    follower = Follower(run)
    first = follower.look()
    assert first is not None
    assert first.problem is None
    with (run / "events.jsonl").open("ab") as file:
        file.write(lines([phase("train", 2)]).replace(b'"v":2', b'"v":3'))
    second = follower.look()
    assert second is not None
    assert second.problem is not None
    assert "newer version" in second.problem
    assert second.view.step == 2
    assert follower.look() is None


# Whole updates -------------------------------------------------------------------------


def test_a_directory_that_comes_later(tmp_path: Path, inbox: Inbox, follow: Callable[[Path], RunFeed]) -> None:
    run = tmp_path / "later"
    follow(run)
    assert "no run directory" in str(inbox.wait_for(lambda _: True).problem)
    write(run, [started(), row(1)])
    update = inbox.wait_for(lambda update: update.view.step == 1)
    assert update.problem is None
    assert update.read_fraction == 1.0
    assert update.disk_free_bytes is not None


def test_only_news_is_delivered(tmp_path: Path) -> None:
    follower = Follower(write(tmp_path, [started(), row(1)]))
    assert follower.look() is not None
    assert follower.look() is None
    (tmp_path / "train.log").write_text("hello\n")
    update = follower.look()
    assert update is not None
    assert update.log_lines == ("hello",)
    assert follower.look() is None


def test_liveness_is_news(tmp_path: Path) -> None:
    run = write(tmp_path, [started(), row(1)])
    follower = Follower(run)
    follower.look()
    lock = RunLock(run / "lock")
    lock.acquire()
    update = follower.look()
    assert update is not None
    assert update.liveness.pid == os.getpid()
    lock.release()
    update = follower.look()
    assert update is not None
    assert update.liveness.pid is None


def test_the_files_names_are_those_of_the_configuration(tmp_path: Path) -> None:
    run = write(tmp_path, [started()])
    (run / "other.log").write_text("in the other file\n")
    (run / "train.log").write_text("in the usual one\n")
    follower = Follower(run)
    first = follower.look()
    assert first is not None
    assert first.log_lines == ("in the usual one",)
    (run / "config_resolved.json").write_text(json.dumps({"logging": {"log_file": "other.log"}}))
    second = follower.look()
    assert second is not None
    assert second.log_lines == ("in the other file",)
    assert second.log_restarted
    (run / "config_resolved.json").write_text("{torn")
    third = follower.look()
    assert third is not None
    assert "damaged" in str(third.problem)


def test_poke_looks_at_once_and_stop_ends_the_thread(tmp_path: Path, inbox: Inbox) -> None:
    run = write(tmp_path, [started()])
    feed = RunFeed(run, inbox.deliver, interval_seconds=3600.0)
    feed.start()
    inbox.wait_for(lambda update: update.view.started is not None)
    write(run, [row(1)])
    feed.poke()
    inbox.wait_for(lambda update: update.view.step == 1)
    thread = next(thread for thread in threading.enumerate() if thread.name == f"feed {run.name}")
    assert thread.daemon
    feed.stop()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    count = len(inbox.updates)
    write(run, [row(2)])
    feed.poke()
    assert len(inbox.updates) == count


def test_a_feed_that_fails_says_so_and_ends(
    tmp_path: Path, inbox: Inbox, follow: Callable[[Path], RunFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write(tmp_path / "run", [started(), row(1)])
    feed = follow(run)
    inbox.wait_for(lambda update: update.view.step == 1)

    def fail(*_: object) -> None:
        raise ValueError("out of luck")

    monkeypatch.setattr("chomp_tui.live.feed.read_liveness", fail)
    feed.poke()
    update = inbox.wait_for(lambda update: update.problem is not None)
    assert "out of luck" in str(update.problem)
    assert update.view.step == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_long_file_is_shown_in_overview_and_then_wholly(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_tail, "LEAST_OVERVIEW_BYTES", 200_000)
    monkeypatch.setattr(line_tail, "PIECE_BYTES", 2000)
    monkeypatch.setattr(line_tail, "BLOCK_BYTES", 50_000)
    monkeypatch.setattr("chomp_tui.live.feed.FIRST_SLICE_SECONDS", 0.0)
    monkeypatch.setattr("chomp_tui.live.feed.SLICE_SECONDS", 0.0)
    events = [phase("data"), started(total_steps=20_000), phase("train"), *map(row, range(1, 20_001))]
    run = write(tmp_path, [*events, ended("completed", 20_000, t=T0 + 20_001)], version=version)
    follower = Follower(run)
    first = follower.look()
    assert first is not None
    assert first.read_fraction < 1
    steps = first.view.rows["step"]
    assert (steps[0], steps[-1], first.view.step, first.view.total_steps) == (1, 20_000, 20_000, 20_000)
    assert 1000 < len(steps) < 20_000
    assert np.diff(steps).max() < 2000
    assert first.view.ended is not None
    updates = [first]
    while follower.has_more:
        update = follower.look()
        if update is not None:
            updates.append(update)
    fractions = [update.read_fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    whole = fold(RunView(), [*events, ended("completed", 20_000, t=T0 + 20_001)])
    assert updates[-1].view.rows == whole.rows
    assert updates[-1].view.step == whole.step
    assert updates[-1].view.ended == whole.ended


def test_what_was_read_before_a_disk_fails_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_tail, "BLOCK_BYTES", 50_000)
    events = [phase("data"), started(total_steps=20_000), phase("train"), *map(row, range(1, 20_001))]
    run = write(tmp_path, events, version=1)
    tail = EventTail(run / "events.jsonl")
    read, reads = os.pread, []

    def failing_once(fd: int, count: int, offset: int) -> bytes:
        reads.append(offset)
        if len(reads) == 9:
            raise OSError(errno.EIO, "Input/output error")
        return read(fd, count, offset)

    monkeypatch.setattr(os, "pread", failing_once)
    tail.advance(60)
    assert tail.problem is not None
    before = len(tail.view.rows)
    assert 0 < before < 20_000
    tail.advance(60)
    assert tail.caught_up
    assert tail.problem is None
    assert tail.view == fold(RunView(), events)


def test_a_file_that_is_written_meanwhile_loses_nothing(
    tmp_path: Path, inbox: Inbox, follow: Callable[[Path], RunFeed]
) -> None:
    run = write(tmp_path, [started()])
    follow(run)
    data = row_lines(row(step) for step in range(1, 2001))
    with (run / "metrics.jsonl").open("ab", buffering=0) as file:
        for begin in range(0, len(data), 777):
            file.write(data[begin : begin + 777])
    update = inbox.wait_for(lambda update: update.view.step == 2000)
    assert update.view.rows["step"].tolist() == list(range(1, 2001))
    assert [update.view.step for update in inbox.updates] == sorted(update.view.step for update in inbox.updates)


# The log -------------------------------------------------------------------------------


def test_the_log_from_its_end_and_then_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    log = LogTail(path)
    assert log.read().lines == ()
    path.write_text("".join(f"line {i}\n" for i in range(50_000)))
    first = log.read()
    assert first.lines[-1] == "line 49999"
    assert 100 < len(first.lines) <= logtail.MOST_LINES
    assert all(line.startswith("line ") for line in first.lines)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert log.read().lines == ("one",)
        file.write("o\n")
    assert log.read().lines == ("two",)


def test_a_rotated_or_shortened_log_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("old\n" * 10)
    log = LogTail(path)
    assert len(log.read().lines) == 10
    path.rename(tmp_path / "train.log.1")
    path.write_text("new\n" * 20)
    rotated = log.read()
    assert (rotated.lines, rotated.restarted) == (("new",) * 20, True)
    path.write_text("short\n")
    assert (log.read().lines, log.read().restarted) == (("short",), False)
    path.unlink()
    assert log.read().restarted


def test_progress_bars_show_their_last_state_and_nothing_steers_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(
        b"\r 10%\r 50%\r100%\n\x1b[31mred\x1b[0m\x1b]0;title\x07 and \x1b[2Jmore\n"
        b"bad \xff byte\nbell \x07 here\nleft\xe2\x80\xaeright\n"
        b"windows line\r\n" + b"x" * 10_000 + b"\n"
    )
    shown = LogTail(path).read().lines
    assert shown[:4] == ("100%", "red and more", "bad \ufffd byte", "bell \ufffd here")
    assert shown[4] == "left\ufffdright"
    assert shown[5] == "windows line"
    assert len(shown[6]) == logtail.LONGEST_LINE
    assert shown[6].endswith("…")


def test_last_words_without_a_newline_are_shown_when_no_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("begun\nKilled")
    log = LogTail(path)
    looks = [log.read().lines for _ in range(logtail.PATIENT_LOOKS + 3)]
    assert looks[0] == ("begun",)
    assert [line for look in looks[1:] for line in look] == ["Killed"]


def test_a_flood_of_log_is_cut_to_its_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("start\n")
    log = LogTail(path)
    log.read()
    with path.open("a") as file:
        file.write("".join(f"flood {i}\n" for i in range(100_000)))
    shown = log.read().lines
    assert len(shown) <= logtail.MOST_LINES
    assert shown[-1] == "flood 99999"


def test_a_log_that_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.log")
    started_at = time.monotonic()
    assert LogTail(tmp_path / "train.log").read().lines == ()
    assert time.monotonic() - started_at < PATIENCE_SECONDS
