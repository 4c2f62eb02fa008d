"""Whole lines of a file that grows, by blocks; subclasses decode them."""

from __future__ import annotations

import abc
import os
import stat
import time
from pathlib import Path
from typing import Generic, TypeVar

BLOCK_BYTES = 2 << 20
# A longer line is no event and no row; it is skipped without being kept in memory.
LONGEST_LINE_BYTES = 32 << 20
# So many bytes before the offset must be the same at the next look, or the file is another one.
MARK_BYTES = 64
# A file with this much to read is shown in overview first: by pieces from places all over it.
LEAST_OVERVIEW_BYTES = 16 << 20
PIECE_BYTES, PIECES = 8 << 10, 160

T = TypeVar("T")


class LineTail(abc.ABC, Generic[T]):
    """Reads the lines that were added to a file; begins again when the file is replaced or became shorter.

    Attributes:
        overview: a coarse picture of a long file until all of it is read, else None.
        offset: bytes consumed.
        caught_up: whether every whole line has been read.
        malformed: lines that were passed over.
        problem: one sentence on why nothing (more) can be read, else None.
    """

    def __init__(self, path: Path):
        self.path = path
        self.overview: T | None = None
        self.forget()

    def forget(self) -> None:
        """Begin again at the start of the file."""
        self.offset = 0
        self.size = 0
        self.caught_up = False
        self.malformed = 0
        self.problem: str | None = None
        self._identity: tuple[int, int] | None = None
        self._mark = b""
        self._skipping = False

    @abc.abstractmethod
    def take(self, lines: bytes) -> None:
        """Take in whole lines."""

    def settle(self) -> None:
        """Called after the last block of a look."""

    @abc.abstractmethod
    def summarize(self, pieces: list[bytes]) -> T:
        """An overview, from whole lines of a file's start, of places all over it, and of its end."""

    def look_over(self) -> None:
        """Get an overview if a long file is about to be read."""
        if self.overview is not None or (self.offset and not self.caught_up):
            return
        try:
            self.size = self.path.stat().st_size
            pieces = read_pieces(self.path) if self.size - self.offset >= LEAST_OVERVIEW_BYTES else []
        except OSError:
            return
        self.overview = self.summarize(pieces) if pieces else None

    def recover(self, fd: int, size: int) -> None:
        """Called where the file has changed before the offset: forget what it no longer holds."""
        self.forget()

    def advance(self, seconds: float) -> None:
        """Read on for about so many seconds or until caught up."""
        try:
            fd = open_regular(self.path)
        except FileNotFoundError:
            if self.offset:
                self.forget()
            self.size, self.caught_up, self.problem, self.overview = 0, True, None, None
            return
        except OSError as error:
            self._give_up(error)
            return
        try:
            self._read_on(fd, time.monotonic() + seconds)
        except OSError as error:
            self._give_up(error)
        finally:
            os.close(fd)
        if self.caught_up:
            self.overview = None

    def _give_up(self, error: OSError) -> None:
        self.caught_up, self.overview = True, None
        self.problem = f"{self.path} cannot be read: {error.strerror or error}"

    def _read_on(self, fd: int, deadline: float) -> None:
        info = os.fstat(fd)
        identity = (info.st_dev, info.st_ino)
        if self._identity not in (None, identity) or not self._continues(fd, info.st_size):
            self.recover(fd, info.st_size)
        self._identity, self.size = identity, info.st_size
        self.problem, self.caught_up = None, False
        try:
            while not self.caught_up and self._read_block(fd):
                if time.monotonic() >= deadline:
                    break
                # A thread that waits for the interpreter, to draw a frame say, comes first.
                time.sleep(0)
        finally:
            # After an error too: what was read is before `offset`.
            self.settle()

    def _continues(self, fd: int, size: int) -> bool:
        """Whether the file still has what was read up to `offset`."""
        if size < self.offset:
            return False
        return os.pread(fd, len(self._mark), self.offset - len(self._mark)) == self._mark

    def go_to(self, fd: int, offset: int) -> None:
        """Go on reading at this offset, behind a whole line."""
        self.offset = offset
        begin = max(0, offset - MARK_BYTES)
        self._mark = os.pread(fd, offset - begin, begin)

    def _read_block(self, fd: int) -> bool:
        """Take in the next whole lines; False when there are none."""
        want = BLOCK_BYTES
        while True:
            data = os.pread(fd, want, self.offset)
            end = data.rfind(b"\n") + 1
            if end or len(data) < want:
                break
            if want >= LONGEST_LINE_BYTES:
                self._skipping, end = True, len(data)
                break
            want *= 2
        if not end:
            self.caught_up = True
            return False
        self.offset += end
        self._mark = data[max(0, end - MARK_BYTES) : end]
        begin = 0
        if self._skipping:
            begin = data.find(b"\n", 0, end) + 1
            if not begin:
                return True
            self._skipping = False
            self.malformed += 1
        self.take(data[begin:end])
        return True


def open_regular(path: Path) -> int:
    """A descriptor of a plain file; a pipe or a device would make the reader wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(None, "it is no plain file")
    return fd


def read_pieces(path: Path) -> list[bytes]:
    """Whole lines of a long file's start, of places all over it, and of its end.

    Raises:
        OSError: the file cannot be read.
    """
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        ends = 16 * PIECE_BYTES
        places = range(ends, size - ends, max((size - 2 * ends) // PIECES, PIECE_BYTES))
        start = os.pread(fd, ends, 0)
        return [
            start[: start.rfind(b"\n") + 1],
            *(_whole_lines(os.pread(fd, PIECE_BYTES, place)) for place in places),
            _whole_lines(os.pread(fd, ends, size - ends)),
        ]
    finally:
        os.close(fd)


def _whole_lines(data: bytes) -> bytes:
    """`data` without the torn lines at its ends."""
    return data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1]
