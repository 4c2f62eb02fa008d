"""A folder that appears complete: it is written beside its place, and moved there when it is on the disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NewFolder:
    """A folder that a process will write; another process can clear up after one that was killed.

    Attributes:
        path: its place.
        missing: folders around it that are made for it, the innermost first.
    """

    path: Path
    missing: tuple[Path, ...]

    @classmethod
    def at(cls, path: Path) -> NewFolder:
        """The plan for `path`, before anything is made."""
        return cls(path, tuple(parent for parent in path.parents if not os.path.lexists(parent)))

    def unfinished(self, pid: int) -> Path:
        """Where the process `pid` writes until all is there."""
        return self.path.with_name(f".{self.path.name}.{pid}.unfinished")

    def clear(self, pid: int) -> None:
        """Take away what the process left beside the finished folder, if it left anything."""
        shutil.rmtree(self.unfinished(pid), ignore_errors=True)
        for parent in self.missing:
            # Parents of the finished folder are not empty.
            with contextlib.suppress(OSError):
                parent.rmdir()


def free_path(path: Path) -> Path:
    """Return `path`, or where that exists the first of PATH-2, PATH-3, … that does not."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not os.path.lexists(one))
