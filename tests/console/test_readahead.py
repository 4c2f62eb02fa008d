"""A long event file is read by two processes: the same view, whatever the second one does, and nobody stays behind."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.record.codec import decode
from chomp.record.events import Evaluated, Event
from chomp.record.run_view import RunView, fold_many
from chomp_tui.live import readahead
from chomp_tui.live.event_tail import EventTail
from chomp_tui.live.feed import RunFeed
from chomp_tui.live.readahead import Plan, ReadAhead, Stretch, stretches
from tests.console.runs import T0, ended, lines, phase, row, started, write

STEPS = 9000
Processes = list[subprocess.Popen[bytes]]
SMALL = functools.partial(Plan, stretch=40_000, gap=20_000, longest=5_000)


@pytest.fixture(autouse=True)
def _short_files_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "HEAD_BYTES", 50_000)
    monkeypatch.setattr(readahead, "LEAST_BYTES", 200_000)
    # However busy the machine is.
    monkeypatch.setattr(readahead, "PATIENCE_SECONDS", 120.0)


def events() -> list[Event]:
    rows: list[Event] = []
    for step in range(1, STEPS + 1):
        rows.append(row(step))
        if step % 500 == 0:
            rows += [phase("eval"), Evaluated(step, 2.0, 7.4, None, 100, 0.5, t=T0 + step), phase("train")]
    return [
        phase("data"),
        started(total_steps=STEPS),
        phase("train"),
        *rows,
        ended("completed", STEPS, t=T0 + STEPS + 1),
    ]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Stretch | None]:
    """What the second process was asked for and gave."""
    answers: list[Stretch | None] = []
    take = ReadAhead.take

    def noted(self: ReadAhead) -> Stretch | None:
        answers.append(take(self))
        return answers[-1]

    monkeypatch.setattr(ReadAhead, "take", noted)
    return answers


def whole(tail: EventTail) -> RunView:
    while not tail.caught_up:
        tail.advance(0.05)
    return tail.view


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Those that were started."""
    begun: Processes = []
    start = ReadAhead.__init__

    def noted(self: ReadAhead, fd: int, plan: Plan) -> None:
        start(self, fd, plan)
        begun.append(self._process)

    monkeypatch.setattr(ReadAhead, "__init__", noted)
    return begun


def all_ended(processes: Processes) -> bool:
    """Whether there was one, and none is left, not even as a zombie."""
    return bool(processes) and all(process.returncode is not None for process in processes)


def test_both_read_and_the_view_is_the_same(tmp_path: Path, taken: list[Stretch | None], processes: Processes) -> None:
    run, size = write(tmp_path, events()), len(lines(events()))
    tail = EventTail(run / "events.jsonl", SMALL)
    assert whole(tail) == fold_many(RunView(), events())
    assert None not in taken
    assert len(taken) == sum(SMALL(50_000, size).has(start) for start in range(50_000, size, 60_000)) > 10
    assert all_ended(processes)
    assert (tail.offset, tail.malformed) == (size, 0)
    # And it is followed as any other.
    write(run, [row(STEPS + 1)])
    tail.advance(1.0)
    assert tail.view.step == STEPS + 1


def test_garbage_in_a_stretch_is_counted_as_anywhere(tmp_path: Path, taken: list[Stretch | None]) -> None:
    text = lines(events())
    place = text.find(b"\n", 60_000) + 1
    (tmp_path / "events.jsonl").write_bytes(text[:place] + b"what is this\n\xff\xfe\n" + text[place:])
    tail = EventTail(tmp_path / "events.jsonl", SMALL)
    assert whole(tail) == fold_many(RunView(), events())
    assert taken[0] is not None
    assert b"what is this" in taken[0].parts
    assert tail.malformed == 2


@pytest.fixture
def _silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lives and says nothing."""
    (tmp_path / "silent").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "silent").chmod(0o755)
    monkeypatch.setattr(readahead.sys, "executable", str(tmp_path / "silent"))


@pytest.mark.usefixtures("_silent")
def test_a_process_that_is_killed_is_not_missed(
    tmp_path: Path, taken: list[Stretch | None], processes: Processes
) -> None:
    tail = EventTail(write(tmp_path / "run", events()) / "events.jsonl", SMALL)
    tail.advance(0.0)
    (process,) = processes
    process.send_signal(signal.SIGKILL)
    assert whole(tail) == fold_many(RunView(), events())
    assert taken == [None]
    assert all_ended(processes)


@pytest.mark.usefixtures("_silent")
def test_a_process_that_says_nothing_is_not_waited_for(
    tmp_path: Path, taken: list[Stretch | None], processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "PATIENCE_SECONDS", 0.05)
    tail = EventTail(write(tmp_path / "run", events()) / "events.jsonl", SMALL)
    assert whole(tail) == fold_many(RunView(), events())
    assert taken == [None]
    assert all_ended(processes)


def test_a_process_that_cannot_be_started_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead.sys, "executable", str(tmp_path / "no python"))
    tail = EventTail(write(tmp_path, events()) / "events.jsonl", SMALL)
    assert whole(tail) == fold_many(RunView(), events())


def test_behind_a_line_too_long_it_is_read_alone(tmp_path: Path, taken: list[Stretch | None]) -> None:
    text = lines(events())
    place = text.find(b"\n", 150_000) + 1
    (tmp_path / "events.jsonl").write_bytes(text[:place] + b"x" * 70_000 + b"\n" + text[place:])
    tail = EventTail(tmp_path / "events.jsonl", SMALL)
    assert whole(tail) == fold_many(RunView(), events())
    assert taken[-1] is None
    assert tail.malformed == 1


def test_a_file_that_is_replaced_meanwhile_is_read_from_its_start(tmp_path: Path, processes: Processes) -> None:
    run = write(tmp_path, events())
    tail = EventTail(run / "events.jsonl", SMALL)
    tail.advance(0.0)
    assert len(processes) == 1
    other = [phase("data"), started(total_steps=3), phase("train"), row(1)]
    (tmp_path / "new").write_bytes(lines(other))
    (tmp_path / "new").replace(run / "events.jsonl")
    tail.advance(1.0)
    assert whole(tail) == fold_many(RunView(), other)
    assert all_ended(processes)


def test_a_file_that_is_cut_meanwhile_is_read_to_its_new_end(tmp_path: Path, processes: Processes) -> None:
    run = write(tmp_path, events())
    tail = EventTail(run / "events.jsonl", SMALL)
    tail.advance(0.0)
    assert 0 < tail.offset < 120_000
    text = lines(events())
    end = text.find(b"\n", 120_000) + 1
    os.truncate(run / "events.jsonl", end)
    tail.advance(60.0)
    assert (tail.offset, tail.caught_up) == (end, True)
    whole_lines = [event for event in map(decode, text[:end].split(b"\n")[:-1]) if event is not None]
    assert tail.view == fold_many(RunView(), whole_lines)
    assert all_ended(processes)


def test_whoever_stops_to_follow_leaves_no_process(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chomp_tui.live.feed.FIRST_SLICE_SECONDS", 0.0)
    seen, may_go_on = threading.Event(), threading.Event()

    def deliver(update: object) -> None:
        seen.set()
        may_go_on.wait(30)

    feed = RunFeed(write(tmp_path, events()), deliver)
    feed.start()
    assert seen.wait(30)
    assert len(processes) == 1
    feed.stop()
    may_go_on.set()
    feed._thread.join(30)
    assert all_ended(processes)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    first=st.integers(1, 40),
    stretch=st.integers(1, 90),
    gap=st.integers(0, 60),
)
def test_stretches_and_gaps_hold_every_line_once(lengths: list[int], first: int, stretch: int, gap: int) -> None:
    texts = [bytes([97 + number % 26]) * length for number, length in enumerate(lengths)]
    data = b"".join(text + b"\n" for text in texts)
    plan = Plan(first, len(data), stretch, gap, longest=32)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        found = list(stretches(file.fileno(), plan))
    at, starts = 0, iter(_starts(plan))
    for one in found:
        nominal = next(starts)
        # Whoever reads the gap goes to the end of the line that contains the byte before the stretch.
        assert one.start == data.index(b"\n", nominal - 1) + 1
        assert at <= one.start
        assert one.parts == data[one.start : one.end].split(b"\n")[:-1]
        at = one.end
    # Only where no line begins in a stretch are there no more.
    left = next(starts, None)
    assert left is None or data.index(b"\n", left - 1) + 1 > left - 1 + stretch


def _starts(plan: Plan) -> Iterator[int]:
    start = plan.first
    while plan.has(start):
        yield start
        start = plan.after(start)
