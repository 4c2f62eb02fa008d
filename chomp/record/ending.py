"""The last event of a run of several processes, which exactly one of them writes.

That is the leader, unless it is gone, suspended, or cannot write its event log: then one of the others writes it in its
place. The lock of the event log decides between them, and a note in the lock of the run tells a leader that wakes up.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from chomp.errors import RunDirError
from chomp.record.event_log import EventWriter
from chomp.record.events import Phase, RunEnded, RunStarted
from chomp.record.lock import RunLock, locked, note_end
from chomp.record.rundir import RunDir

POLL_SECONDS = 0.05


@contextlib.contextmanager
def leader_ends(run: RunDir) -> Iterator[bool]:
    """Whether the leader may write the last event; no other process writes it meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.events, os.O_RDWR))
        except BlockingIOError:
            # Another process writes it now.
            is_free = False
        except OSError:
            # No other process can open the file either.
            is_free = True
        else:
            is_free = True
        yield is_free


def end_for_leader(run: RunDir, leader: tuple[int, str], end: RunEnded, by: str, *, within: float) -> bool:
    """Write the last event if the leader does not; whether this process has written it.

    Args:
        leader: pid and host.
        by: this process, as messages name it.
        within: seconds that a leader which holds the lock has for the last event.

    Raises:
        OSError: the run directory cannot be read or written.
    """
    waits_until = time.monotonic() + within
    # Once more after that, as the leader may be about to release the lock.
    while time.monotonic() < waits_until + 20 * POLL_SECONDS:
        with contextlib.suppress(BlockingIOError), locked(run.events, os.O_RDWR):
            if _has_ended(run):
                return False
            with contextlib.ExitStack() as stack:
                if _is_gone(run, stack) or (time.monotonic() > waits_until and note_end(run.lock, *leader, by)):
                    return _write(run, end)
        time.sleep(POLL_SECONDS)
    return False


def _has_ended(run: RunDir) -> bool:
    """Whether there is nothing to end: the newest attempt has ended, or has written no event."""
    for record in run.newest_events():
        kind = record.get("kind")
        if kind == RunEnded.kind:
            return True
        # An attempt begins with the phase `data`; the leader may still add a warning behind its end.
        if kind == RunStarted.kind or (kind == Phase.kind and record.get("name") == "data"):
            return False
    return next(run.newest_events(), None) is None


def _is_gone(run: RunDir, stack: contextlib.ExitStack) -> bool:
    """Whether no process holds the run's lock; this one does from then on."""
    lock = RunLock(run.lock)
    try:
        lock.acquire()
    except RunDirError:
        return False
    stack.callback(lock.release)
    return True


def _write(run: RunDir, end: RunEnded) -> bool:
    writer = EventWriter(run.events)
    try:
        return writer.write(end)
    finally:
        writer.close()
