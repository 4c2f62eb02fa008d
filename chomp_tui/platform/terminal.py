"""The terminal belongs to the screens while they run: nothing else in this process can print on it.

Python's own prints are caught by Textual. What native libraries write to file descriptors 1 and 2, and
what child processes inherit, is led into a log file instead; Textual gets a private descriptor.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# A log that has grown beyond this is begun anew.
MOST_LOG_BYTES = 1_000_000


def missing_terminal(environ: dict[str, str] | os._Environ[str] = os.environ) -> str | None:
    """Why no screen can be shown here, in a few words, or None."""
    streams = {
        0: "standard input is not a terminal",
        1: "standard output is not a terminal",
        2: "standard error is not a terminal, and that is where screens are drawn",
    }
    for fd, problem in streams.items():
        if not os.isatty(fd):
            return problem
    if environ.get("TERM", "dumb") in ("dumb", ""):
        return "TERM says that this terminal cannot place text (TERM=dumb)"
    return None


@contextlib.contextmanager
def private_terminal(log: Path | None) -> Iterator[None]:
    """Lead descriptors 1 and 2 into `log` (nowhere if None or not writable); afterwards all is as before.

    Textual draws to what `sys.__stderr__` is and asks `sys.__stdout__` for the size, so both are
    the private descriptor meanwhile. Child processes get what 1 and 2 are: the log.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ours = [os.dup(1), os.dup(2)]
    names = sys.__stdout__, sys.__stderr__
    private = [open(fd, "w", encoding="utf-8", errors="replace", closefd=False) for fd in ours]  # noqa: SIM115
    sink = _open_log(log)
    try:
        _name(*private)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        yield
    finally:
        # What is still in Python's buffers belongs in the log.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for fd, own in enumerate(ours, start=1):
            os.dup2(own, fd)
        _name(*names)
        os.close(sink)
        for stream, own in zip(private, ours, strict=True):
            # The terminal may be gone.
            with contextlib.suppress(OSError):
                stream.close()
            os.close(own)


def _name(stdout: io.TextIOWrapper | None, stderr: io.TextIOWrapper | None) -> None:
    """Set the terminal's streams."""
    sys.__stdout__ = stdout  # type: ignore[misc]
    sys.__stderr__ = stderr  # type: ignore[misc]


def _open_log(path: Path | None) -> int:
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            if path.exists() and path.stat().st_size > MOST_LOG_BYTES:
                flags |= os.O_TRUNC
            return os.open(path, flags, 0o600)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
