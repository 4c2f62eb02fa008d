"""`events.jsonl`: written by one engine, read by anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from chomp.record.codec import decode, encode
from chomp.record.events import Event
from chomp.record.line_files import LineAppender, LineReader


class EventWriter:
    """Stamps events with the time and appends them; safe from any thread."""

    def __init__(self, path: Path):
        self._file = LineAppender(path)

    def write(self, event: Event) -> bool:
        """Append an event; False if it has to wait until the disk takes it."""
        return self._file.append(encode(event, time.time()))

    def give_up(self) -> None:
        """Forget what waits: another process writes the end of the run."""
        self._file.give_up()

    def close(self) -> None:
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
