"""A real pseudo-terminal around a command: what it writes, what it is told, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 120
ALT_SCREEN_ON, ALT_SCREEN_OFF = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_ON = "\x1b[?25h"
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[@-Z\\-_])")


def drawn(text: str) -> str:
    """A program's output without escape sequences and blanks."""
    return re.sub(r"\s+", "", _SEQUENCE.sub("", text))


class Terminal:
    """A command that leads the session of a pseudo-terminal of its own.

    Args:
        argv: the command; its first word is the program's path.
        environ: its whole environment.
        folder: its working folder.
        size: columns and rows.
    """

    def __init__(
        self, argv: Sequence[str], *, environ: Mapping[str, str], folder: Path, size: tuple[int, int] = (100, 30)
    ):
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        # The attributes survive the command only as long as a process holds its end open.
        self._other = other
        self.before = termios.tcgetattr(other)
        self.output = b""
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._become(argv, dict(environ), folder)

    def _become(self, argv: Sequence[str], environ: dict[str, str], folder: Path) -> None:
        try:
            os.close(self.fd)
            os.setsid()
            fcntl.ioctl(self._other, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(self._other, fd)
            os.closerange(3, 256)
            os.chdir(folder)
            os.execve(argv[0], list(argv), environ)
        finally:
            os._exit(127)

    def read(self, seconds: float = 0.05) -> bool:
        """Take what the command writes within the time; whether there was anything."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            got = os.read(self.fd, 1 << 16)
        except OSError:
            # Linux's way to say that the other end is closed.
            return False
        self.output += got
        return bool(got)

    @property
    def text(self) -> str:
        """All that was written so far."""
        return self.output.decode("utf-8", "replace")

    @property
    def words(self) -> str:
        """The same without escape sequences and blanks: what was drawn, in the order in which it was."""
        return drawn(self.text)

    def until(self, holds: Callable[[], Any]) -> Any:
        """Read until it holds; returns what it gave."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (result := holds()):
            assert time.monotonic() < deadline, f"nothing happened; the terminal shows:\n{self.words[-3000:]}"
            self.read()
        return result

    def until_shown(self, words: str) -> None:
        """Read until some words were drawn since the last `forget`."""
        plain = re.sub(r"\s+", "", words)
        self.until(lambda: plain in self.words)

    def forget(self) -> None:
        """Begin `text` anew."""
        self.output = b""

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def wait(self) -> int:
        """Read to the command's end; returns its exit code, negative for a signal."""

        def ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return pid != 0

        if self.status is None:
            self.until(ended)
        for _ in range(20):
            self.read(0.01)
        assert self.status is not None
        return self.status

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._other)

    def hang_up(self) -> int:
        """What a closed window or a lost connection does; returns how the command ended, as `wait` does."""
        os.close(self._other)
        os.close(self.fd)
        self._other = self.fd = -1
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        """End whatever is left."""
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        for fd in (self.fd, self._other):
            if fd >= 0:
                os.close(fd)
