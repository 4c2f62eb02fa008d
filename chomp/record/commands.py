"""`commands.jsonl`: the user's commands to a live run."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from chomp.record.codec import json_line
from chomp.record.json_text import parse_json
from chomp.record.line_files import LineAppender, LineReader

CommandName = Literal["pause", "resume", "save", "eval", "sample", "profile", "skip", "stop", "abort"]
COMMANDS: tuple[str, ...] = get_args(CommandName)


@dataclass(frozen=True)
class Command:
    """A request with an id; the engine answers it with an `acknowledged` event."""

    command: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    t: float = field(default_factory=time.time)
    args: dict[str, Any] = field(default_factory=dict)


def permission_problem(path: Path, shown: Path | None = None) -> str | None:
    """Why the commands in `path` are not obeyed, or None: it must belong to its reader and be writable by it alone.

    Args:
        shown: its path for the user, if that is another.

    Raises:
        FileNotFoundError: no command has been sent yet.
    """
    info = path.stat()
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        return (
            f"{shown or path} is ignored: it must belong to uid {os.geteuid()} and be writable by it alone (chmod 600)"
        )
    return None


def discard_commands_of_others(path: Path) -> None:
    """Remove a command file that another user left from an earlier attempt: this user could not write to it."""
    # In a directory that only allows its owner to remove files, the file stays, and the engine says that it ignores it.
    with contextlib.suppress(OSError):
        if path.stat().st_uid != os.geteuid():
            path.unlink()


def send_command(path: Path, command: Command) -> None:
    """Append `command` to a run's command file, which only its owner may read or write.

    Raises:
        OSError: the file cannot be written.
    """
    appender = LineAppender(path, mode=0o600)
    try:
        if not appender.append(
            json_line({"v": 1, "t": command.t, "id": command.id, "command": command.command, "args": command.args})
        ):
            raise OSError(f"cannot write {path}")
    finally:
        appender.close()


class CommandReader:
    """Commands added since the last `read` that were written after `since` (Unix time).

    The file is obeyed only if the reading user owns it and no other user may write to it.

    Args:
        shown: the path that a user knows, if `path` is another.
    """

    def __init__(self, path: Path, *, since: float, shown: Path | None = None):
        self._lines = LineReader(path)
        self._path = path
        self._shown = shown
        self._since = since
        self.problem: str | None = None

    def read(self) -> Iterator[Command]:
        try:
            self.problem = permission_problem(self._path, self._shown)
            if self.problem or self._path.stat().st_size == self._lines.offset:
                return
        except OSError:
            # No command has been sent yet, or the file system is unavailable for a moment.
            return
        for line in self._lines.read():
            command = _parse(line)
            if command is not None and command.t >= self._since:
                yield command


def _parse(line: bytes) -> Command | None:
    try:
        record = parse_json(line)
        return Command(
            command=str(record["command"]),
            id=str(record["id"]),
            t=float(record["t"]),
            args=dict(record.get("args") or {}),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
