"""`chomp ARGS` in the process of the test, for facts that need no process of their own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from chomp.cli import main
from chomp.record.signals import HANDLED_SIGNALS
from chomp.train.reporting import QUIET


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `chomp ARGS` to its end and return what `tests.engine.run` returns.

    Imports, JAX's backend and its small programs are there already. Programs are compiled with the flags of the test
    process (see tests/conftest.py): compare arrays and losses only with those of runs trained here.
    """
    words = [str(arg) for arg in args]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with restored_state(), contextlib.chdir(cwd or Path.cwd()), streams[0], streams[1]:
        try:
            main.run(main.cli, words)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except Exception:  # noqa: BLE001 - as the interpreter does with what nothing caught
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(["chomp", *words], code, *(text(stream) for stream in (out, err)))


def text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@contextlib.contextmanager
def restored_state() -> Iterator[None]:
    """Restore what a command changes in its process: environment, signal handlers, logging and warnings."""
    loggers = [logging.getLogger(name) for name in (None, *QUIET)]
    logging_before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    signals_before = {number: signal.getsignal(number) for number in HANDLED_SIGNALS}
    with mock.patch.object(main, "leave", sys.exit), mock.patch.dict(os.environ), warnings.catch_warnings():
        try:
            yield
        finally:
            logging.captureWarnings(False)
            for logger, level, propagate, handlers in logging_before:
                for handler in set(logger.handlers) - set(handlers):
                    handler.close()
                logger.handlers[:] = handlers
                logger.propagate = propagate
                logger.setLevel(level)
            for number, handler in signals_before.items():
                signal.signal(number, handler)
