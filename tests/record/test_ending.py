"""Which of several processes writes the last event of a run."""

from __future__ import annotations

import functools
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chomp.errors import RunDirError
from chomp.record import ending
from chomp.record.ending import leader_ends
from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import Event, Phase, RunEnded, Warned
from chomp.record.lock import RunLock, live_holder, locked, read_holder
from chomp.record.rundir import RunDir
from chomp.sinks import Reporter
from tests.small_disk import Disk

HERE = (os.getpid(), socket.gethostname())
end_for_leader = functools.partial(ending.end_for_leader, within=0.1)
END = RunEnded(status="crashed", reason="process 0 did not answer", step=7, exit_code=7)
LATE = Warned(topic="checkpoint", message="a save failed")
BEGUN = Phase(name="train", step=3)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run whose leader has written an event, and no end."""
    run = RunDir(tmp_path)
    write(run, BEGUN)
    return run


def write(run: RunDir, *events: Event) -> None:
    writer = EventWriter(run.events)
    for event in events:
        writer.write(event)
    writer.close()


def ends(run: RunDir) -> list[str]:
    return [event.reason for event in read_events(run.events) if isinstance(event, RunEnded)]


def test_one_of_the_others_ends_the_run_of_a_leader_that_is_suspended(run: RunDir) -> None:
    lock = RunLock(run.lock)
    lock.acquire()
    with ThreadPoolExecutor() as pool:
        names = [f"process {index}" for index in (1, 2, 3)]
        wrote = list(pool.map(lambda name: end_for_leader(run, HERE, END, name), names))
    assert sorted(wrote) == [False, False, True]
    assert ends(run) == [END.reason]
    # Readers see a run that has ended, though its leader is alive and keeps the lock.
    assert live_holder(run.lock) is None
    by = names[wrote.index(True)]
    with pytest.raises(RunDirError) as caught:
        RunLock(run.lock).acquire()
    pid, host = HERE
    assert str(caught.value) == (
        f"{run.path} is locked by pid {pid} on {host}, which did not answer when {by} ended the run; "
        f"end it with `kill -9 {pid}` on {host}, then start again"
    )
    # The leader wakes up: it says nothing more.
    reporter = Reporter(EventWriter(run.events), [], lambda: read_holder(run.lock).ended_by is not None)  # type: ignore[union-attr]
    reporter.publish(LATE)
    with leader_ends(run) as is_free:
        assert is_free
        reporter.publish(RunEnded(status="completed", reason="all steps done", step=9))
    reporter.close()
    assert ends(run) == [END.reason]
    assert len(read_events(run.events)) == 2
    lock.release()
    RunLock(run.lock).acquire()
    assert live_holder(run.lock) is not None


def test_a_leader_that_is_gone_is_replaced_at_once(run: RunDir) -> None:
    assert end_for_leader(run, HERE, END, "process 1")
    assert ends(run) == [END.reason]
    assert run.lock.read_bytes() == b""
    assert not end_for_leader(run, HERE, END, "process 2")


def test_a_leader_that_ends_by_itself_is_left_alone(run: RunDir) -> None:
    lock = RunLock(run.lock)
    lock.acquire()
    with leader_ends(run) as is_free:
        assert is_free
        # The others wait for it.
        assert not end_for_leader(run, HERE, END, "process 1")
    write(run, RunEnded(status="stopped", reason="SIGTERM received", step=5, exit_code=143), LATE)
    assert not end_for_leader(run, HERE, END, "process 1")
    assert ends(run) == ["SIGTERM received"]
    # The next attempt.
    write(run, Phase(name="data", step=5))
    lock.release()
    assert end_for_leader(run, HERE, END, "process 1")
    assert ends(run) == ["SIGTERM received", END.reason]
    with locked(run.events, os.O_RDWR), leader_ends(run) as is_free:
        assert not is_free


@pytest.mark.root
@pytest.mark.parametrize("by", ["leader", "other"])
def test_a_full_disk_has_room_for_the_end(by: str, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "run", 1)
    try:
        run, lock = RunDir(disk.path), RunLock(disk.path / "lock")
        lock.acquire()
        writer = EventWriter(run.events, reserves=True)
        assert writer.write(BEGUN)
        disk.fill()
        # More than there is room for waits.
        taken = [writer.write(LATE) for _ in range(1000)]
        assert not taken[-1]
        if by == "leader":
            with leader_ends(run) as is_free:
                assert is_free
                assert writer.write(END)
        else:
            assert end_for_leader(run, HERE, END, "process 1")
            writer.give_up()
        writer.close()
        found = [event for event in read_events(run.events) if isinstance(event, RunEnded)]
        assert [event.reason for event in found] == [END.reason]
        assert read_events(run.events)[-1] == found[0]
        assert sorted(path.name for path in run.path.iterdir()) == ["ballast", "events.jsonl", "lock"]
        lock.release()
    finally:
        disk.close()


def test_the_run_of_a_newer_attempt_is_not_ended(run: RunDir) -> None:
    lock = RunLock(run.lock)
    lock.acquire()
    assert not end_for_leader(run, (HERE[0] + 1, HERE[1]), END, "process 1")
    assert not ends(run)
    assert live_holder(run.lock) is not None


def test_a_torn_line_of_the_leader_does_not_spoil_the_end(run: RunDir) -> None:
    with run.events.open("ab") as file:
        file.write(b'{"v":1,"kind":"run_en')
    assert end_for_leader(run, HERE, END, "process 1")
    assert ends(run) == [END.reason]


def test_the_leader_gives_up_an_end_that_the_disk_does_not_take(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, real = EventWriter(run.events), os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert not writer.write(END)
    writer.give_up()
    monkeypatch.setattr(os, "write", real)
    writer.close()
    assert not ends(run)
    assert end_for_leader(run, HERE, END, "process 1")
