"""`events.jsonl` read by pieces into a view, from its start and then as it grows."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from chomp.record.codec import FORMAT_VERSION, decode
from chomp.record.events import Phase
from chomp.record.row_columns import Block
from chomp.record.run_view import Folding, RunView
from chomp_tui.live import readahead
from chomp_tui.live.fastrows import RowReader
from chomp_tui.live.linebuffer import LineBuffer
from chomp_tui.live.readahead import Plan, ReadAhead

CHUNK_BYTES = 3 << 20
# A longer line is no event of ours; it is skipped without being kept in memory.
LONGEST_LINE_BYTES = 32 << 20
# So many bytes before the offset must be the same at the next look, or the file is another one.
MARK_BYTES = 64
# A file with this much to read is shown in overview first: its ends, and so many pieces between them.
LEAST_OVERVIEW_BYTES = 16 << 20
END_BYTES, PIECE_BYTES, PIECES = 128 << 10, 8 << 10, 160
_VERSION = re.compile(rb'\{\s*"v"\s*:\s*(\d{1,9})\b')


class EventTail:
    """Folds the lines that were added to an event file; begins again when the file is replaced or became shorter.

    Args:
        plan: from where, and to where, another process reads a long file: what exactly.

    Attributes:
        view: the run as far as it has been read.
        offset: bytes consumed.
        caught_up: whether every whole line has been read.
        malformed: lines that held no event.
        newer: whether a line said it was of a later format version than this program knows.
        problem: one sentence on why nothing (more) can be read, else None.
    """

    def __init__(self, path: Path, plan: Callable[[int, int], Plan] = Plan):
        self.path = path
        self._plan = plan
        self._ahead: ReadAhead | None = None
        self._forget()

    def _forget(self) -> None:
        self.close()
        self._alone = False
        self.view = RunView()
        self.offset = 0
        self.caught_up = False
        self.malformed = 0
        self.newer = False
        self.problem: str | None = None
        self._size = 0
        self._identity: tuple[int, int] | None = None
        self._mark = b""
        self._skipping = False
        self._rows = RowReader()

    @property
    def fraction(self) -> float:
        """Share of the file read so far."""
        return 1.0 if self.caught_up or self._size == 0 else min(self.offset / self._size, 0.999)

    def close(self) -> None:
        """End the process that reads ahead, if there is one; reading can go on without it."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def advance(self, seconds: float) -> bool:
        """Read on for about so many seconds or until caught up; returns whether the view changed."""
        before = self.view
        try:
            fd = _open_regular(self.path)
        except FileNotFoundError:
            if self.offset:
                self._forget()
            self.caught_up, self.problem = True, None
            return self.view is not before
        except OSError as error:
            self.caught_up, self.problem = True, f"{self.path} cannot be read: {error.strerror or error}"
            return False
        try:
            self._read_on(fd, time.monotonic() + seconds)
        except OSError as error:
            self.caught_up, self.problem = True, f"{self.path} cannot be read: {error.strerror or error}"
        finally:
            os.close(fd)
        return self.view is not before

    def overview(self) -> RunView | None:
        """A coarse first picture of a long file: its beginning, its end and rows from everywhere between.

        None for a file that is read as quickly as that, and for one that cannot be read. The
        last step is the right one; what happened between beginning and end is left out.
        """
        try:
            fd = _open_regular(self.path)
        except OSError:
            return None
        try:
            self._meet(os.fstat(fd))
            # It needs some time to start.
            self._ask_for_help(fd)
            return _overview(fd, self._size, self.offset)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _read_on(self, fd: int, deadline: float) -> None:
        info = os.fstat(fd)
        if not self._continues(fd, info.st_size):
            self._forget()
        self._meet(info)
        self.problem, self.caught_up = None, False
        if self.offset == info.st_size:
            self.caught_up = True
            return
        self._ask_for_help(fd)
        folding, buffer = Folding(self.view), LineBuffer()
        changed = False
        try:
            while self._read_chunk(fd, buffer, folding):
                changed = True
                if time.monotonic() >= deadline:
                    break
                # Whoever waits for the interpreter, to draw a frame say, comes first.
                time.sleep(0)
        finally:
            # Before an error too: what was read is behind `offset`.
            if changed:
                self.view = folding.view()

    def _meet(self, info: os.stat_result) -> None:
        """Take note of the file's size; begin again if it is another file."""
        identity = (info.st_dev, info.st_ino)
        if self._identity not in (None, identity):
            self._forget()
        if info.st_size < self._size:
            # What the other process was to read may not be there any more.
            self.close()
        self._identity, self._size = identity, info.st_size

    def _continues(self, fd: int, size: int) -> bool:
        """Whether the file still has what was read up to `offset`."""
        if size < self.offset:
            return False
        return os.pread(fd, len(self._mark), self.offset - len(self._mark)) == self._mark

    def _ask_for_help(self, fd: int) -> None:
        """Have another process read stretches of what is left, if that is much."""
        if self._ahead is not None or self._alone or self._size - self.offset < readahead.LEAST_BYTES:
            return
        try:
            self._ahead = ReadAhead(fd, self._plan(self.offset + readahead.HEAD_BYTES, self._size))
        except OSError:
            self._alone = True

    def _take_stretch(self, fd: int, folding: Folding) -> bool:
        """Fold the stretch that begins here, if the other process has read it; else go on alone."""
        assert self._ahead is not None
        stretch = self._ahead.take()
        if stretch is None or stretch.start != self.offset:
            self.close()
            self._alone = True
            return False
        if self._ahead.is_done:
            self.close()
        self._mark = os.pread(fd, MARK_BYTES, stretch.end - MARK_BYTES)
        self.offset = stretch.end
        self._fold(stretch.parts, folding)
        return True

    def _read_chunk(self, fd: int, buffer: LineBuffer, folding: Folding) -> bool:
        """Fold the next whole lines; False when there are none."""
        if self._ahead is not None and self.offset >= self._ahead.start and self._take_stretch(fd, folding):
            return True
        want, least = CHUNK_BYTES, None
        if self._ahead is not None and self.offset + want >= self._ahead.start:
            # To where the other process begins: the end of the line that contains the byte before.
            least = self._ahead.start - 1 - self.offset
            want = least + self._ahead.plan.longest
        while True:
            got = buffer.fill(fd, want, self.offset)
            end = buffer.end_of_last_line() if least is None else buffer.end_of_line(least)
            if end or got < want:
                break
            if want >= LONGEST_LINE_BYTES:
                self._skipping, end = True, got
                break
            want *= 2
        if not end:
            self.caught_up = True
            return False
        self.offset += end
        self._mark = buffer.copy(max(0, end - MARK_BYTES), end)
        begin = 0
        if self._skipping:
            begin = buffer.end_of_line(0)
            if not begin or begin > end:
                return True
            self._skipping = False
            self.malformed += 1
        first = self.offset == end
        self._fold(buffer.parts(self._rows, begin, end), folding)
        if first and self._ahead is not None:
            folding.expect(self.offset / self._size)
        return True

    def _fold(self, parts: Iterable[Block | bytes], folding: Folding) -> None:
        for part in parts:
            if isinstance(part, bytes):
                self._fold_line(part, folding)
            else:
                folding.add_rows(part)

    def _fold_line(self, line: bytes, folding: Folding) -> None:
        event = decode(line)
        version = _VERSION.match(line)
        if version is not None and int(version[1]) > FORMAT_VERSION:
            self.newer = True
        if event is not None:
            folding.add(event)
        elif line.strip():
            self.malformed += 1


def _overview(fd: int, size: int, offset: int) -> RunView | None:
    if size - offset < LEAST_OVERVIEW_BYTES:
        return None
    folding = Folding(RunView())
    for line in _whole_lines(os.pread(fd, END_BYTES, 0), from_start=True).split(b"\n"):
        _add_line(folding, line)
    places = range(END_BYTES, size - END_BYTES, max((size - 2 * END_BYTES) // PIECES, PIECE_BYTES))
    pieces = b"".join(_whole_lines(os.pread(fd, PIECE_BYTES, place)) for place in places)
    for part in RowReader().parts(pieces):
        if not isinstance(part, bytes):
            folding.add_rows(part)
        elif b'"kind":"eval"' in part or b'"kind":"step"' in part:
            _add_line(folding, part)
    before = folding.view()
    for line in _whole_lines(os.pread(fd, END_BYTES, size - END_BYTES)).split(b"\n"):
        _add_line(folding, line)
    view = folding.view()
    if view.phase is not None and view.phase is before.phase and view.last_t is not None:
        # Something else may have been done between, but what has come to its end is rows.
        view = dataclasses.replace(view, phase=Phase(name="train", step=view.step, t=view.phase.t))
    return view


def _whole_lines(data: bytes, *, from_start: bool = False) -> bytes:
    """`data` without the torn lines at its ends."""
    return data[0 if from_start else data.find(b"\n") + 1 : data.rfind(b"\n") + 1]


def _add_line(folding: Folding, line: bytes) -> None:
    event = decode(line)
    if event is not None:
        folding.add(event)


def _open_regular(path: Path) -> int:
    """A descriptor of a plain file; a pipe or a device would make the reader wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(None, "it is no plain file")
    return fd
