"""`events.jsonl`: written by one engine, read by anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from chomp.record.codec import decode, encode
from chomp.record.events import Event, RunEnded
from chomp.record.line_files import LineAppender, LineReader
from chomp.record.reserve import LAST_BYTES, Reserve


class EventWriter:
    """Stamps events with the time and appends them; safe from any thread.

    Args:
        reserves: keep room on the disk for the end of the run.
    """

    def __init__(self, path: Path, *, reserves: bool = False):
        self._file = LineAppender(path)
        self._reserve = Reserve(path)
        self._reserves = reserves
        if reserves:
            self._reserve.hold()

    def write(self, event: Event) -> bool:
        """Append an event; False if it has to wait until the disk takes it.

        For the end of the run a full disk has room that was kept, by this process or another one.
        """
        line = encode(event, time.time())
        if not isinstance(event, RunEnded):
            return self._file.append(line)
        is_written = self._file.append(line)
        self._reserve.free()
        return is_written or self._file.write_newest(LAST_BYTES)

    def give_up(self) -> None:
        """Forget what waits: another process writes the end of the run."""
        self._file.give_up()

    def close(self) -> None:
        if self._reserves:
            self._reserve.free()
        self._file.close()


class NoEvents:
    """Takes the place of a writer in processes of a run that leave its one event log to the leader."""

    def write(self, event: Event) -> None:
        """Forget the event."""

    def give_up(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class EventReader:
    """The events added since the last `read`; lines that hold no event are counted, not raised."""

    def __init__(self, path: Path, *, offset: int = 0):
        self._lines = LineReader(path, offset=offset)
        self.malformed = 0

    @property
    def offset(self) -> int:
        """Bytes consumed so far; pass it to a new reader to continue there."""
        return self._lines.offset

    @property
    def restarted(self) -> bool:
        """Whether the file shrank, so that the last `read` began at its start again."""
        return self._lines.restarted

    def read(self) -> Iterator[Event]:
        for line in self._lines.read():
            event = decode(line)
            if event is None:
                self.malformed += 1
            else:
                yield event


def read_events(path: Path) -> list[Event]:
    """All events in a file, in order; an absent file has none."""
    return list(EventReader(path).read())
