"""One notice for each fact, however many processes watch a run.

A process claims a notice by a line in `notices.jsonl` of the run directory before it sends it, and adds another line
when the notice is sent or given up. If it is killed in between, the next process that looks at the run sends the
notice again, with the same `id`: each notice is sent at least once, and twice only after such a kill.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter, ValidationError

from chomp.config.notify import NotifyConfig
from chomp.notify.channels import build_channels
from chomp.notify.notice import Notice
from chomp.notify.notifier import Notifier
from chomp.record.codec import jsonable
from chomp.record.line_files import parse_line
from chomp.record.lock import is_running
from chomp.record.rundir import RunDir

# A notice of an earlier day is no news.
NEWS_SECONDS = 86400.0
LARGEST_FILE = 1 << 20
_RECEIVERS = {"command", "webhook", "ntfy", "slack", "discord"}
_NOTICE = TypeAdapter(Notice)


def fact_id(run: Path, fact: str) -> str:
    """The `id` of the notice of a fact: the same in every process that watches the run."""
    return hashlib.sha256(f"{os.path.realpath(run)}\0{fact}".encode(errors="surrogateescape")).hexdigest()[:16]


class OnceNotifier:
    """Sends notices of facts that other processes see, too: one notice for a fact and a set of receivers.

    Attributes:
        notifier: sends them; also those that only this process knows.

    Raises:
        ConfigError: a program, a variable or a file is missing, or holds no URL.
    """

    def __init__(self, settings: NotifyConfig, notifier: Notifier | None = None):
        self.notifier = notifier or Notifier(settings, build_channels(settings))
        # Of the settings, which name no secret.
        named = json.dumps(settings.model_dump(mode="json", include=_RECEIVERS), sort_keys=True)
        self._receivers = hashlib.sha256(named.encode()).hexdigest()[:16]
        self._me = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
        # By file, its size when it held no notice that is still to be sent.
        self._settled: dict[Path, int] = {}

    def send(self, run: RunDir, notice: Notice) -> bool:
        """Queue a notice unless another process sends it, or has sent it."""
        if not self.notifier.wants(notice):
            return False
        try:
            if not self._claim(run.notices, notice):
                return False
        except OSError:
            # It cannot be noted: twice is better than never.
            return self.notifier.send(notice)
        is_sent = self.notifier.send(notice, lambda: self._conclude(run.notices, notice))
        if not is_sent:
            self._conclude(run.notices, notice)
        return is_sent

    def take_over(self, run: RunDir) -> list[Notice]:
        """Send what a process has claimed that was killed before it could send it."""
        path = run.notices
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            if self._settled.get(path) == size:
                return []
            with _locked(path) as fd:
                is_open = self._open_claims(fd)
            if not is_open:
                self._settled[path] = size
            return [notice for notice in filter(None, map(_left, is_open)) if self.send(run, notice)]
        return []

    def _claim(self, path: Path, notice: Notice) -> bool:
        """Note that this process sends a notice; False if that is the part of another one.

        Raises:
            OSError: the file cannot be written.
        """
        with _locked(path) as fd:
            mine = [line for line in self._lines(fd) if line.get("id") == notice.id]
            if any("done" in line for line in mine) or any(_is_alive(line) for line in mine):
                return False
            self._append(
                fd, {"id": notice.id, **self._me, "notice": asdict(replace(notice, reason=notice.reason[:500]))}
            )
        return True

    def _conclude(self, path: Path, notice: Notice) -> None:
        """Note that a notice is sent or given up; if the disk is full it may be sent again after a kill."""
        with contextlib.suppress(OSError), _locked(path) as fd:
            self._append(fd, {"id": notice.id, "done": round(time.time(), 3)})

    def _append(self, fd: int, record: dict[str, Any]) -> None:
        # A line that was cut by a kill ends here.
        os.write(fd, b"\n" + json.dumps(jsonable({**record, "to": self._receivers})).encode() + b"\n")

    def _lines(self, fd: int) -> list[dict[str, Any]]:
        text = os.pread(fd, LARGEST_FILE, max(0, os.fstat(fd).st_size - LARGEST_FILE))
        found = [line for line in map(parse_line, text.splitlines()) if line is not None]
        return [line for line in found if line.get("to") == self._receivers]

    def _open_claims(self, fd: int) -> list[dict[str, Any]]:
        """The newest claim of each notice that is not concluded."""
        claims: dict[str, dict[str, Any]] = {}
        for line in self._lines(fd):
            number = str(line.get("id"))
            if "done" in line:
                claims.pop(number, None)
            else:
                claims[number] = line
        return list(claims.values())


def _is_alive(claim: dict[str, Any]) -> bool:
    """Whether the process that made a claim runs; of another machine that is not known, and assumed."""
    pid, started, host = claim.get("pid"), claim.get("started"), claim.get("host")
    if not isinstance(pid, int) or not isinstance(started, float):
        return False
    return host != socket.gethostname() or is_running(pid, started)


def _left(claim: dict[str, Any]) -> Notice | None:
    """The notice of a claim whose process is gone, if it is still news."""
    if _is_alive(claim):
        return None
    try:
        notice = _NOTICE.validate_python(claim.get("notice"))
    except ValidationError:
        return None
    return notice if time.time() - notice.t < NEWS_SECONDS else None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A descriptor of the file, which no other process changes meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
