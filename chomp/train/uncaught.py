"""Errors that no caller receives, of threads and of objects that Python deletes, go to the log file.

Python would print their tracebacks on standard error, between the rows. Libraries leave such errors where a save or a
tracker fails: an array whose write ends after its event loop was closed, a thread that writes to a full disk.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

from chomp.record.events import Warned
from chomp.sinks import Reporter

log = logging.getLogger("chomp.uncaught")


@contextlib.contextmanager
def uncaught_to_log(reporter: Reporter) -> Iterator[None]:
    """Log them with their tracebacks meanwhile; of a thread that ended with an error the user is told, too."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit or args.exc_value is None:
            return
        name = args.thread.name if args.thread is not None else "of a library"
        log.error("thread %s ended with an error", name, exc_info=args.exc_value)
        said = f"the thread {name} ended with {args.exc_type.__name__}: {args.exc_value} (traceback in the log file)"
        reporter.publish(Warned(topic="thread", message=said))

    def ignored(args: sys.UnraisableHookArgs) -> None:
        log.error("%s %r", args.err_msg or "an error was ignored in", args.object, exc_info=args.exc_value)

    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = in_thread, ignored
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before
