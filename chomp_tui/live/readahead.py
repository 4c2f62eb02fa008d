"""A second process that reads some stretches of a long event file, so that two cores open it.

Threads do not help: numpy lets go of the interpreter for some microseconds at a time, and to
hand it over takes as long. What the process finds is what `RowReader` would find here; when it
fails, or is slow, whoever asked reads on alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from chomp.record.row_columns import Block
from chomp_tui.live.fastrows import RowReader
from chomp_tui.live.linebuffer import LineBuffer

# A file is read alone to here while the process starts; one that is not much longer is read alone to its end.
HEAD_BYTES = 24 << 20
LEAST_BYTES = 96 << 20
# Then reading alone is the quicker way.
PATIENCE_SECONDS = 2.0
# What a stretch becomes fits, so that the process goes on to the next while nobody has asked for it.
PIPE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")


class Plan(NamedTuple):
    """Which stretches: from byte `first` on `stretch` bytes at a time with gaps between them, the last before `end`.

    A stretch is the lines that begin in these bytes. Where a line is longer than `longest`, there are no more. Gaps are
    smaller, since whoever reads them also puts together what both have found.
    """

    first: int
    end: int
    stretch: int = 3 << 20
    gap: int = 15 << 17
    longest: int = 1 << 20

    def after(self, start: int) -> int:
        """Where the stretch behind the one at `start` begins."""
        return start + self.stretch + self.gap

    def has(self, start: int) -> bool:
        """Whether there is a whole stretch at `start`."""
        return start + self.stretch + self.longest <= self.end


class Stretch(NamedTuple):
    """Whole lines from byte `start` to byte `end` of the file, as `RowReader.parts` gives them."""

    start: int
    end: int
    parts: list[Block | bytes]


class ReadAhead:
    """The stretches of a plan, in their order, from another process.

    Attributes:
        start: before this byte the next stretch does not begin; it begins with the first line at or after it.
    """

    def __init__(self, fd: int, plan: Plan):
        """Begin to read.

        Raises:
            OSError: no process could be started.
        """
        self.start = plan.first
        self.plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "chomp_tui.live.readahead", *map(str, (fd, *plan))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(fd,),
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        # Not every system can; then the process waits for us more often.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def is_done(self) -> bool:
        """Whether every stretch has been taken."""
        return not self.plan.has(self.start)

    def take(self) -> Stretch | None:
        """The next stretch; None when there is none, and nothing more is to be expected."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        head = self._receive(_LENGTH.size, deadline)
        body = self._receive(_LENGTH.unpack(head)[0], deadline) if head else None
        if body is None:
            return None
        self.start = self.plan.after(self.start)
        return Stretch(*pickle.loads(body))

    def _receive(self, count: int, deadline: float) -> bytes | None:
        """So many bytes of what the process says, or None if it does not say them in time."""
        pieces, poll = bytearray(), select.poll()
        poll.register(self._pipe, select.POLLIN)
        while len(pieces) < count:
            ready = poll.poll(1e3 * max(deadline - time.monotonic(), 0.0))
            piece = os.read(self._pipe, count - len(pieces)) if ready else b""
            if not piece:
                return None
            pieces += piece
        return bytes(pieces)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()


def stretches(fd: int, plan: Plan) -> Iterator[Stretch]:
    """What `ReadAhead` takes."""
    reader, buffer, nominal = RowReader(), LineBuffer(), plan.first
    while plan.has(nominal):
        # The byte before tells whether a line begins right here.
        buffer.fill(fd, plan.stretch + plan.longest, nominal - 1)
        begin, end = buffer.end_of_line(0), buffer.end_of_line(plan.stretch)
        if not 0 < begin <= plan.stretch or not end:
            return
        yield Stretch(nominal - 1 + begin, nominal - 1 + end, list(buffer.parts(reader, begin, end)))
        nominal = plan.after(nominal)


def main() -> None:
    """Write stretches to standard output, each behind its length, until nobody takes them."""
    fd, *plan = map(int, sys.argv[1:])
    with contextlib.suppress(BrokenPipeError):
        for stretch in stretches(fd, Plan(*plan)):
            body = pickle.dumps(tuple(stretch), protocol=5)
            for piece in (_LENGTH.pack(len(body)), body):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
