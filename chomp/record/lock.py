"""Two engines never write one run.

The lock is an advisory `flock`, which the kernel drops when its holder dies, however it
dies. The file's text names the holder for people and for other machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from chomp.errors import RunDirError, command_name
from chomp.record.json_text import parse_json

# Process start times are read back at this precision at best.
START_TIME_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class Holder:
    """The engine process that wrote the lock; `started` is its start in Unix seconds.

    Attributes:
        inode: number of the lock file that it wrote, which a copy of the file does not have; None in older locks.
        ended_by: the process that ended the run in place of this one, which did not answer; see `note_end`.
    """

    pid: int
    host: str
    started: float
    inode: int | None = None
    ended_by: str | None = None

    def is_here(self) -> bool:
        """Whether the process was started on this machine; those of other machines cannot be seen."""
        return self.host == socket.gethostname()

    def wrote(self, path: Path) -> bool:
        """Whether the lock file at `path` is the one it wrote; a copied directory has the same text."""
        try:
            return self.inode in (None, path.stat().st_ino)
        except OSError:
            return False

    def is_alive(self) -> bool:
        """Whether that very process still runs here; a reused pid has another start time."""
        return self.is_here() and is_running(self.pid, self.started)


def is_suspended(pid: int) -> bool:
    """Whether a process of this machine is stopped (SIGSTOP, SIGTSTP) until SIGCONT."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def is_running(pid: int, started: float | None = None) -> bool:
    """Whether a process runs on this machine and, if `started` (Unix time) is given, was started then; no zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return started is None or abs(process.create_time() - started) < START_TIME_TOLERANCE_SECONDS
    except psutil.Error:
        return False


def process_age_seconds() -> float:
    """Seconds since this process was started."""
    return max(0.0, time.time() - psutil.Process().create_time())


def read_holder(path: Path) -> Holder | None:
    """The process that wrote the lock file last; None if the file is absent, empty or damaged."""
    try:
        record = parse_json(path.read_text())
        inode, ended_by = record.get("inode"), record.get("ended_by")
        return Holder(
            pid=int(record["pid"]),
            host=str(record["host"]),
            started=float(record["started"]),
            inode=int(inode) if inode is not None else None,
            ended_by=str(ended_by) if ended_by is not None else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def live_holder(path: Path) -> Holder | None:
    """The engine that holds the lock now, without touching it; None if there is none on this machine.

    One in whose place another process has ended the run is none.
    """
    holder = read_holder(path)
    if holder is None or holder.ended_by is not None:
        return None
    return holder if holder.is_alive() and holder.wrote(path) else None


def note_end(path: Path, pid: int, host: str, by: str) -> bool:
    """Note in a lock that another process ends the run in place of its holder, which writes no more from then on.

    The holder, which is suspended or cannot write, keeps the lock, so that no engine starts beside it.

    Args:
        pid: of the holder; False if another process holds the lock by now.
        by: the process that ends the run.
    """
    holder = read_holder(path)
    if holder is None or (holder.pid, holder.host) != (pid, host):
        return False
    fd = os.open(path, os.O_RDWR)
    try:
        # Longer than what it replaces.
        os.pwrite(fd, json.dumps({**asdict(holder), "locked_at": time.time(), "ended_by": by}).encode(), 0)
    finally:
        os.close(fd)
    return True


def holder_name(path: Path) -> str:
    """The process that wrote the lock file last, as an error message names it."""
    holder = read_holder(path)
    return f"pid {holder.pid} on {holder.host}" if holder else "another process"


@contextlib.contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Hold the `flock` of a file or folder, without writing to it.

    Args:
        flags: with which it is opened; on NFS `os.O_RDWR` locks it for other hosts, too.

    Raises:
        BlockingIOError: another process holds it.
    """
    fd = os.open(path, flags)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


class RunLock:
    """Held by an engine for as long as it writes a run directory."""

    def __init__(self, path: Path):
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunDirError: another engine holds it; its pid and host are named.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._take(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_holder(self._path)
            if holder is not None and holder.ended_by is not None:
                raise RunDirError(
                    f"{self._path.parent} is locked by {holder_name(self._path)}, which did not answer when "
                    f"{holder.ended_by} ended the run; end it with `kill -9 {holder.pid}` on {holder.host}, then start "
                    "again"
                ) from None
            raise RunDirError(
                f"{self._path.parent} is in use by {holder_name(self._path)}; wait for it, "
                f"stop it with `{command_name()} ctl {self._path.parent} stop`, "
                "or choose another --run-dir"
            ) from None
        me = psutil.Process()
        mine = Holder(me.pid, socket.gethostname(), me.create_time(), os.fstat(fd).st_ino)
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({**asdict(mine), "locked_at": round(time.time(), 3)}).encode(), 0)

    def release(self) -> None:
        """Release the lock; the file stays, empty, so that it names no holder."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1
