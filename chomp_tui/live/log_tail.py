"""The end of a log file as lines that a terminal can show."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from chomp.record.formatting import sanitize

TAIL_BYTES = 200_000
MOST_LINES = 2_000
LONGEST_LINE = 2_000
# After so many looks at a file that does not grow, its unfinished last line is shown as it is.
PATIENT_LOOKS = 4
# Colours and cursor movements, titles and links, and other two-character escapes.
_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")


@dataclass(frozen=True)
class LogPart:
    """Lines added since the last look; `restarted` says that earlier ones belong to another file."""

    lines: tuple[str, ...] = ()
    restarted: bool = False


class LogTail:
    """Reads a log from its last `TAIL_BYTES` on; a file that was replaced or became shorter is begun again."""

    def __init__(self, path: Path):
        self.path = path
        self._offset = 0
        self._identity: tuple[int, int] | None = None
        self._rest = b""
        self._looks = 0

    def read(self) -> LogPart:
        """What was added; nothing if the file cannot be read, for a log is never needed."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return self._gone()
        try:
            return self._read(fd)
        except OSError:
            return LogPart()
        finally:
            os.close(fd)

    def _gone(self) -> LogPart:
        was, self._identity, self._offset, self._rest = self._identity, None, 0, b""
        return LogPart(restarted=was is not None)

    def _read(self, fd: int) -> LogPart:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return LogPart()
        identity = (info.st_dev, info.st_ino)
        restarted = self._identity not in (None, identity) or info.st_size < self._offset
        if restarted or self._identity is None:
            self._offset, self._rest = 0, b""
        self._identity = identity
        start = max(self._offset, info.st_size - TAIL_BYTES)
        data = os.pread(fd, info.st_size - start, start)
        if start > self._offset:
            # The rest of a line whose beginning is not known.
            data, self._rest = data[data.find(b"\n") + 1 :], b""
        self._offset = info.st_size
        return LogPart(self._lines(data), restarted)

    def _lines(self, data: bytes) -> tuple[str, ...]:
        if not data:
            return self._overdue()
        self._looks = 0
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-TAIL_BYTES:]
        return tuple(_shown(line) for line in whole[-MOST_LINES:])

    def _overdue(self) -> tuple[str, ...]:
        """A line that stays unfinished, such as the last one of a process that was killed."""
        if not self._rest:
            return ()
        self._looks += 1
        if self._looks < PATIENT_LOOKS:
            return ()
        line, self._rest, self._looks = self._rest, b"", 0
        return (_shown(line),)


def _shown(line: bytes) -> str:
    """A line as a terminal would show it: the last state of a progress bar, without escape sequences."""
    text = line.decode("utf-8", "replace")
    states = [state for state in text.split("\r") if state.strip()]
    text = sanitize(_SEQUENCES.sub("", states[-1] if states else ""))
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"
