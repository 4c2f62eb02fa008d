"""A folder that a process holds open: found again when it is renamed, missed when it is gone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType

from chomp.errors import RunDirError

DESCRIPTOR = "/proc/self/fd/%d"
HIGH_NUMBER = 700


class HeldFolder:
    """A folder by its descriptor, whatever becomes of its name.

    Attributes:
        path: its path, as given until it was found elsewhere.
        absolute: the same as an absolute path, which stays known if the working directory is removed.
        through: a path that goes through the descriptor (`/proc/self/fd/N`). It leads to the folder wherever that is
            renamed to, it makes no folder anew where the folder is gone, and it is short and UTF-8 whatever the name
            is. Without /proc it is the path as given.

    Raises:
        OSError: there is no such folder, or it cannot be opened.
    """

    def __init__(self, path: Path):
        self.path = path
        self.absolute = path.absolute()
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        by_descriptor = Path(DESCRIPTOR % self._fd)
        self._is_by_descriptor = by_descriptor.is_dir()
        self.through = by_descriptor if self._is_by_descriptor else self.absolute
        self._copy = -1

    def __enter__(self) -> HeldFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def follow(self) -> bool:
        """Look where the folder is; True if it was renamed since the last look.

        Raises:
            RunDirError: no path leads to it any more.
        """
        if self._is_at(self.path):
            return False
        if self._is_by_descriptor:
            # Of a folder that is gone, the kernel says its last path and ` (deleted)`.
            now = self.through.readlink()
            if self._is_at(now):
                self.path = self.absolute = now
                return True
        raise RunDirError(
            f"the run directory {self.path} was removed, unmounted or replaced by another while the engine ran; the "
            "engine does not write to another directory"
        )

    def _is_at(self, path: Path) -> bool:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # A file system that does not answer for a moment has moved nothing.
            return True
        try:
            return os.path.samestat(found, os.fstat(self._fd))
        except OSError as error:
            # Of a folder that was removed on a server, its handle is stale.
            return error.errno != errno.ESTALE

    def through_high_number(self) -> Path:
        """A path as `through`, by a descriptor whose number is the same in all processes that ask for it.

        Processes of one run have other files open, but hardly ever hundreds: the first free number from there on is
        the same one. Without /proc, or under a low limit on open files, it is the absolute path.
        """
        if self._is_by_descriptor and self._copy < 0:
            with contextlib.suppress(OSError):
                self._copy = fcntl.fcntl(self._fd, fcntl.F_DUPFD_CLOEXEC, HIGH_NUMBER)
        return Path(DESCRIPTOR % self._copy) if self._copy >= 0 else self.absolute

    def leave_open(self) -> None:
        """Keep the descriptor open until the process ends: a thread that is left behind still writes through it."""
        self._fd = self._copy = -1

    def close(self) -> None:
        """Let go of the folder."""
        for descriptor in (self._fd, self._copy):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._copy = -1


def by_name(text: str, path: Path) -> str:
    """A message about a file in the folder at `path`, with that path and not the one through the descriptor."""
    return re.sub(DESCRIPTOR.replace("%d", r"\d+"), lambda _: str(path), text)
