"""Memory into which pieces of a file are read one after another, and in which their lines are found."""

from __future__ import annotations

import os
from collections.abc import Iterator

from chomp.record.row_columns import Block
from chomp_tui.live.fastrows import BACK, FRONT, RowReader


class LineBuffer:
    """One piece of a file; the next takes its place, which costs less than memory of its own.

    Places in it are counted from the piece's first byte.
    """

    def __init__(self) -> None:
        self._memory = bytearray()
        self._count = 0

    def fill(self, fd: int, count: int, offset: int) -> int:
        """Read so many bytes, or those that there are, and return how many those are.

        Raises:
            OSError: as `os.preadv`.
        """
        if len(self._memory) < FRONT + count + BACK:
            self._memory = bytearray(FRONT + count + BACK)
        self._count = os.preadv(fd, [memoryview(self._memory)[FRONT : FRONT + count]], offset)
        return self._count

    def end_of_line(self, place: int) -> int:
        """The place behind the first newline at or after `place`, 0 if there is none."""
        return max(self._memory.find(b"\n", FRONT + place, FRONT + self._count) + 1 - FRONT, 0)

    def end_of_last_line(self) -> int:
        """The place behind the last newline, 0 if there is none."""
        return max(self._memory.rfind(b"\n", FRONT, FRONT + self._count) + 1 - FRONT, 0)

    def copy(self, begin: int, end: int) -> bytes:
        """A copy of some of them."""
        return bytes(self._memory[FRONT + begin : FRONT + end])

    def parts(self, reader: RowReader, begin: int, end: int) -> Iterator[Block | bytes]:
        """What `reader` makes of these whole lines."""
        return reader.parts(self._memory, FRONT + begin, FRONT + end)
