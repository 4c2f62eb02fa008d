"""Append-only JSON-lines files: whole lines, repaired after a crash, kept in memory while the disk is full."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chomp.record.json_text import parse_json

log = logging.getLogger("chomp.events")

MAX_WAITING_LINES = 10_000


def parse_line(line: bytes | str) -> dict[str, Any] | None:
    """The JSON object in a line; None where there is none."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class LineAppender:
    """Appends whole lines to a file from any thread.

    A line that cannot be written (disk full, say) waits and is tried again with the next
    one; `append` never raises `OSError`, because a record that cannot be kept must not
    end the run it describes.

    Args:
        mode: of a file that is made, less the umask.
        lazy: open the file at the first line.

    Raises:
        OSError: the file cannot be opened, unless `lazy`.
    """

    def __init__(self, path: Path, *, mode: int = 0o666, lazy: bool = False):
        self.path = path
        self._mode = mode
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._failing = False
        # Whether the first waiting line is the rest of one that was written in part.
        self._torn = False
        self.dropped = 0
        self._fd = -1
        self._closed = False
        if not lazy:
            self._open()

    def _open(self) -> None:
        """Open the file, and end a line that a killed writer left torn, so that it spoils no later one."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, self._mode)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._waiting.appendleft(b"\n")
            self._torn = True

    def append(self, line: bytes) -> bool:
        """Append `line` (ending in a newline); False if it has to wait."""
        with self._lock:
            self._waiting.append(line)
            while len(self._waiting) > MAX_WAITING_LINES:
                del self._waiting[1 if self._torn else 0]
                self.dropped += 1
            return self._drain()

    def _drain(self) -> bool:
        if self._closed:
            return False
        while self._waiting:
            try:
                if self._fd < 0:
                    self._open()
                line = self._waiting[0]
                written = os.write(self._fd, line)
            except OSError as error:
                if not self._failing:
                    self._failing = True
                    log.error("cannot write %s: %s; its lines wait in memory", self.path.name, error.strerror)
                return False
            if written < len(line):
                self._waiting[0], self._torn = line[written:], True
                continue
            self._waiting.popleft()
            self._torn = False
        if self._failing:
            self._failing = False
            log.warning("%s can be written again", self.path.name)
        return True

    def write_newest(self, most: int) -> bool:
        """Write what waits, of which the newest lines of at most so many bytes are kept, the last one in any case."""
        with self._lock:
            first = 1 if self._torn else 0
            while sum(map(len, self._waiting)) > most and len(self._waiting) > first + 1:
                del self._waiting[first]
                self.dropped += 1
            if self._torn and sum(map(len, self._waiting)) > most:
                # Readers leave out a line that ends early.
                self._waiting[0] = b"\n"
            return self._drain()

    def give_up(self) -> None:
        """Forget the lines that wait."""
        with self._lock:
            self._waiting.clear()

    def close(self) -> None:
        """Try once more to write what waits, then close."""
        with self._lock:
            self._drain()
            self._closed = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


class LineReader:
    """Reads the whole lines that were added to a file since the last call.

    A torn last line is left for later; a file that shrank is read again from its start,
    and `restarted` is then true until the next call.
    """

    def __init__(self, path: Path, *, offset: int = 0):
        self.path = path
        self.offset = offset
        self.restarted = False

    def read(self) -> Iterator[bytes]:
        self.restarted = False
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self.restarted = 0, True
                file.seek(self.offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self.offset += len(line)
                    yield line
        except FileNotFoundError:
            return
