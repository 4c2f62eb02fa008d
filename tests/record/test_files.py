"""Append-only files: whole lines whatever happens to the writer, the disk or the file."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from chomp.record.commands import Command, send_command
from chomp.record.event_log import EventReader, EventWriter, read_events
from chomp.record.events import Phase
from chomp.record.line_files import MAX_WAITING_LINES, LineAppender, LineReader


class FickleDisk:
    """Replaces `os.write`: takes what `room` allows, then has no space left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int | None = None):
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(fd, data[: self.room])
        self.room -= taken
        return taken


def line(number: int) -> bytes:
    return json.dumps({"n": number}).encode() + b"\n"


def numbers(path: Path) -> list[int]:
    return [json.loads(text)["n"] for text in path.read_text().splitlines()]


def test_lines_wait_for_a_full_disk_and_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FickleDisk(monkeypatch)
    file = LineAppender(tmp_path / "x.jsonl")
    assert file.append(line(1))
    disk.room = 4
    assert not file.append(line(2)), "half of it is written, the rest waits"
    assert not file.append(line(3))
    disk.room = None
    assert file.append(line(4))
    file.close()
    assert numbers(tmp_path / "x.jsonl") == [1, 2, 3, 4]


def test_the_newest_lines_that_room_was_kept_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FickleDisk(monkeypatch)
    file = LineAppender(tmp_path / "x.jsonl")
    disk.room = 4
    for number in range(10, 20):
        assert not file.append(line(number))
    disk.room = None
    assert file.write_newest(6 + 3 * len(line(10)))
    # The rest of a line that was written in part goes first.
    assert numbers(tmp_path / "x.jsonl") == [10, 17, 18, 19]
    assert file.dropped == 6
    disk.room = 4
    assert not file.append(line(20))
    assert not file.append(line(21))
    disk.room = None
    assert file.write_newest(1)
    assert (tmp_path / "x.jsonl").read_bytes().splitlines()[4:] == [line(20)[:4], line(21).strip()]
    file.close()


def test_closing_writes_what_waits_if_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FickleDisk(monkeypatch, room=0)
    file = LineAppender(tmp_path / "x.jsonl")
    file.append(line(1))
    disk.room = None
    file.close()
    file.close()
    assert numbers(tmp_path / "x.jsonl") == [1]


def test_too_many_waiting_lines_drop_the_oldest_and_tear_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FickleDisk(monkeypatch, room=3)
    file = LineAppender(tmp_path / "x.jsonl")
    for number in range(MAX_WAITING_LINES + 5):
        file.append(line(number))
    assert file.dropped == 5
    disk.room = None
    file.close()
    kept = numbers(tmp_path / "x.jsonl")
    assert kept == [0, *range(6, MAX_WAITING_LINES + 5)], "the one that is already half written is finished"


def test_a_torn_last_line_is_ended_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"v":1,"t":1,"kind":"phase","name":"train","step":1}\n{"v":1,"t":2,"ki')
    writer = EventWriter(path)
    writer.write(Phase(name="eval", step=2))
    writer.close()
    reader = EventReader(path)
    assert [event.step for event in reader.read() if isinstance(event, Phase)] == [1, 2]
    assert reader.malformed == 1


def test_a_reader_leaves_a_torn_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(1) + b'{"n"')
    reader = LineReader(path)
    assert list(reader.read()) == [line(1)]
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(b": 2}\n")
    assert list(reader.read()) == [b'{"n": 2}\n']


def test_a_file_that_shrank_is_read_again_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(1) + line(2))
    reader = LineReader(path)
    assert len(list(reader.read())) == 2
    path.write_bytes(line(9))
    assert list(reader.read()) == [line(9)]
    assert reader.restarted
    assert list(reader.read()) == []
    assert not reader.restarted


def test_an_absent_file_has_no_lines_yet(tmp_path: Path) -> None:
    reader = EventReader(tmp_path / "events.jsonl")
    assert list(reader.read()) == []
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.write(Phase(name="train", step=1))
    assert len(list(reader.read())) == 1
    assert reader.offset == (tmp_path / "events.jsonl").stat().st_size


def send_many(path: Path, start: int) -> None:
    for number in range(start, start + 200):
        send_command(path, Command("save", id=str(number), args={"pad": "x" * 500}))


def test_threads_share_a_writer(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "events.jsonl")
    threads = [
        threading.Thread(target=lambda: [writer.write(Phase(name="train", step=n)) for n in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(read_events(tmp_path / "events.jsonl")) == 2000


def test_processes_append_to_one_command_file(tmp_path: Path) -> None:
    """Two consoles and a shell: every command arrives whole.

    A writer that sees another's line half written ends it, as it would one of a killed writer: that is an empty line.
    """
    path = tmp_path / "commands.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=send_many, args=(path, start)) for start in (0, 1000, 2000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = [int(json.loads(text)["id"]) for text in path.read_text().splitlines() if text]
    assert sorted(found) == [*range(200), *range(1000, 1200), *range(2000, 2200)]
    assert path.stat().st_mode & 0o777 == 0o600
