"""Notices that another program has written a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chomp_tui.platform.poller import Poller

INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class OnDisk:
    """A file as it is now; `data` is None where it cannot be read."""

    path: Path
    data: bytes | None


class FileWatch(Poller[OnDisk]):
    """Looks at the size and time of one file, and reads it when they change."""

    def __init__(self, deliver: Callable[[OnDisk], None], *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        super().__init__(deliver, interval_seconds=interval_seconds, name="file-watch")
        self._path: Path | None = None
        self._seen: tuple[Path, object] | None = None

    def watch(self, path: Path | None) -> None:
        """Watch another file, or none; the first look delivers it."""
        self._path = path
        self.poke()

    def look(self) -> Iterator[OnDisk]:
        path = self._path
        if path is None:
            return
        seen = (path, _stamp(path))
        if seen != self._seen:
            self._seen = seen
            yield OnDisk(path, read_bytes(path))


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file; None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
