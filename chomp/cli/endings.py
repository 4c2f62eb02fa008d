"""How a program ends: one sentence about an error, its exit code, and standard streams that may be closed or full."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import click

from chomp.errors import ChompError

FLUSH_SECONDS = 2.0
# Of an error's line that repeats what the user gave, so that what is wrong with it stays on the screen.
LINE_HEAD, LINE_TAIL = 2000, 500


class _StandardStream(io.FileIO):
    """Standard output or standard error, whose errors name it."""

    def __init__(self, fd: int, title: str) -> None:
        super().__init__(fd, "w", closefd=False)
        self._title = title

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self._title
            raise


def open_standard_streams() -> None:
    """Prepare the standard streams: printing never fails because of a character, or because a stream is closed.

    The null device takes the number of a closed stream, which the next file would get otherwise: what a native library
    prints would be written into that file. `sys.stdin` stays None; `chomp.cli.stdin` says that it is closed.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _prepared(sys.stdout, 1, "standard output")
    sys.stderr = _prepared(sys.stderr, 2, "standard error")


def _prepared(stream: Any, fd: int, title: str) -> Any:
    """A stream that replaces characters which it cannot show and names itself in errors; another kind as it is."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if not isinstance(stream.buffer, io.BufferedWriter | io.FileIO) or stream.fileno() != fd:
        stream.reconfigure(errors="replace")
        return stream
    stream.flush()
    named = _StandardStream(fd, title)
    # With PYTHONUNBUFFERED there is no buffer.
    binary: Any = named if isinstance(stream.buffer, io.FileIO) else io.BufferedWriter(named)
    return io.TextIOWrapper(
        binary, stream.encoding, "replace", line_buffering=stream.line_buffering, write_through=stream.write_through
    )


def show_warnings() -> None:
    """Print what is logged before a log file takes it; an error with its traceback is left to `report`."""
    shown = logging.StreamHandler()
    shown.addFilter(lambda record: record.exc_info is None)
    logging.basicConfig(handlers=[shown], format="%(message)s")


def report(error: BaseException) -> int:
    """Print the sentence about what ended a program, if it needs one, and return the exit code.

    An error that is neither the user's nor the machine's is a fault of chomp: its traceback goes into a file.
    """
    match error:
        case ChompError():
            complain(str(error))
            return error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            _show(error)
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return 130
        case SystemExit():
            # click's answer when the reader of our output left (`chomp runs | head`).
            return error.code if isinstance(error.code, int) else 1
        case OSError() if error.filename is not None:
            complain(f"{error.filename}: {error.strerror or error}")
        case _:
            complain(_fault(error))
    return 1


def _fault(error: BaseException) -> str:
    """The sentence about an error that is a fault of chomp, which names the file with its traceback."""
    from chomp.record.user_files import keep_traceback

    first = next(iter(str(error).strip().splitlines()), "no message")
    kept = keep_traceback(error)
    where = f"the traceback is in {kept}" if kept else "its traceback could not be written"
    return f"{type(error).__name__}: {first}; this is a fault of chomp, and {where}"


def complain(sentence: str) -> None:
    """Print an error on standard error, which may be closed or full itself."""
    from chomp.record.formatting import sanitize

    with contextlib.suppress(OSError):
        click.echo(_shortened(f"error: {sanitize(sentence)}"), err=True)


def _show(error: click.ClickException) -> None:
    """Click's message for an invalid command line, in the form of chomp's own errors."""
    said = io.StringIO()
    error.show(said)
    with contextlib.suppress(OSError):
        text = re.sub("^Error: ", "error: ", said.getvalue(), count=1, flags=re.MULTILINE)
        # Click names its own type: 'abc' is not a valid integer range.
        for kind, words in (("integer", "whole number"), ("float", "number")):
            text = re.sub(rf"is not a valid {kind}( range)?\.", f"is not a {words}.", text)
        click.echo(_shortened(text), err=True, nl=False)


def _shortened(text: str) -> str:
    """The text with the middle of too long lines left out."""
    long_middle = rf"^(.{{{LINE_HEAD}}}).{{2,}}(.{{{LINE_TAIL}}})$"
    return re.sub(long_middle, r"\1…\2", text, flags=re.MULTILINE)


def leave(code: int) -> None:
    """Exit even if a thread of a native library is still running, or the terminal is closed."""
    # A full pipe or a stopped terminal blocks the flush for ever; everything that matters is in the run directory.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The reader or the terminal may be gone.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
