"""A file system that is small enough to fill; needs root, as CI has."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount(*args: object) -> None:
    subprocess.run(["mount", *map(str, args)], check=True, capture_output=True)


class Disk:
    """A file system of its own at a new folder, such as a run directory."""

    def __init__(self, path: Path, megabytes: int):
        self.path = path
        path.mkdir()
        mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path)

    def fill(self, *, leave: int = 0) -> None:
        """Leave so many bytes, rounded to pages."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while ballast.write(b"x" * 4096):
                    continue
            except OSError:
                ballast.truncate(max(0, ballast.tell() - leave))

    def free(self) -> None:
        (self.path / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "--recursive", "--lazy", str(self.path)], check=True)
