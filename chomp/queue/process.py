"""The runner as a process: one for a queue, detached from the terminal that starts it."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from chomp.errors import ChompError, RunDirError
from chomp.queue.folder import QueueFolder
from chomp.queue.job import QueueError
from chomp.queue.launch import engine_command
from chomp.record.formatting import one_line
from chomp.record.lock import Holder, RunLock, holder_name, live_holder

log = logging.getLogger("chomp.queue")

POLL_SECONDS = 1.0
START_SECONDS = 30.0
WAIT_SECONDS = 0.05


def runner_of(folder: QueueFolder) -> Holder | None:
    """The runner of a queue that is alive on this machine."""
    return live_holder(folder.runner_lock)


class Service(Protocol):
    """What a runner does at each look, and at its end."""

    def look(self) -> None: ...

    def close(self) -> None: ...


def run_queue(folder: QueueFolder, make: Callable[[Callable[[str], None]], Service], poll_seconds: float) -> None:
    """Run the queue until SIGTERM or SIGINT; engines go on without the runner.

    Args:
        make: makes the service, with the function that writes the runner's log.

    Raises:
        QueueError: another runner has the queue, or the folder cannot be used.
    """
    folder.make()
    with _end_signals() as ended_within, _locked(folder), _log_file(folder.runner_log):
        folder.drain.unlink(missing_ok=True)
        log.info("the runner starts (pid %d)", os.getpid())
        service = make(lambda text: log.info("%s", one_line(text)))
        last = ""
        while not ended_within(poll_seconds):
            try:
                service.look()
                last = ""
            except Exception as error:
                # Whatever fails, the other jobs of a night go on at the next look; each failure is logged once.
                if str(error) != last:
                    known = isinstance(error, (ChompError, OSError))
                    log.error("%s", error, exc_info=None if known else error)
                last = str(error)
        service.close()
        log.info("the runner ends; engines go on")


@contextlib.contextmanager
def _end_signals() -> Iterator[Callable[[float], bool]]:
    """Handle SIGTERM and SIGINT; gives a function that waits for one and says whether one came, then or before.

    The handler must not set a `threading.Event`: where it interrupts the `wait` of its own thread, that thread holds
    the event's lock, and would wait for itself.
    """
    came, note = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os.write(note, b"."))
    # A terminal that closes ends nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield lambda seconds: bool(select.select([came], [], [], seconds)[0])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.close(came)
        os.close(note)


@contextlib.contextmanager
def _locked(folder: QueueFolder) -> Iterator[None]:
    lock = RunLock(folder.runner_lock)
    try:
        lock.acquire()
    except RunDirError:
        name = holder_name(folder.runner_lock)
        raise QueueError(f"the queue {folder.path} has a runner already ({name}); a second one is not needed") from None
    except OSError as error:
        raise QueueError(f"the queue {folder.path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


class _Patient(logging.FileHandler):
    """A log on a disk that may fill up: a line that cannot be written is dropped."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing."""


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = _Patient(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    # What a detached runner prints goes to the same file.
    log.propagate = sys.stderr.isatty()
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def start_runner(folder: QueueFolder, poll_seconds: float = POLL_SECONDS) -> int:
    """Start a runner detached from this terminal; returns its pid, or that of the one there is.

    Raises:
        QueueError: it did not start; the sentence is its own.
    """
    folder.make()
    there = runner_of(folder)
    if there is not None:
        return there.pid
    command = engine_command(
        "queue", "run", "--queue", str(folder.path.absolute()), "--poll-seconds", str(poll_seconds)
    )
    try:
        with folder.runner_log.open("ab") as out:
            begun = out.tell()
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    except OSError as error:
        raise QueueError(f"the runner cannot be started: {error.strerror}: {error.filename or folder.path}") from error
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        there = runner_of(folder)
        if there is not None:
            return there.pid
        if child.poll() is not None:
            said = folder.runner_log.read_bytes()[begun:].decode("utf-8", "replace").strip()
            raise QueueError((said.splitlines() or ["the runner ended and said nothing"])[-1].removeprefix("error: "))
        time.sleep(WAIT_SECONDS)
    raise QueueError(f"the runner did not start within {START_SECONDS:.0f} s; see {folder.runner_log}")


def stop_runner(folder: QueueFolder, say: Callable[[str], None], *, with_engines: bool) -> bool:
    """End the runner; False if there is none.

    Args:
        with_engines: first let running jobs save and wait, and start no other.

    Raises:
        QueueError: the folder cannot be written.
    """
    there = runner_of(folder)
    if there is None:
        return False
    if with_engines:
        while running := folder.let_all_wait("the queue was stopped"):
            if runner_of(folder) is None:
                raise QueueError(f"the runner ended, and engines go on: {', '.join(running)}")
            say(f"waits until {', '.join(running)} {'is' if len(running) == 1 else 'are'} saved")
            time.sleep(WAIT_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.kill(there.pid, signal.SIGTERM)
    while there.is_alive():
        time.sleep(WAIT_SECONDS)
    return True
