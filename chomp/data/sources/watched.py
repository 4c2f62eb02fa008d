"""Files whose content is known: whether they are still what they were when they were opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from chomp.data.progress import ProgressMeter
from chomp.data.sources.formats import reading
from chomp.errors import DataError

DIGEST_BYTES = 16


def digest_of(content: bytes) -> bytes:
    """A hash of a content, 16 bytes of SHA-256."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def digest_file(path: Path, meter: ProgressMeter | None = None) -> bytes:
    """`digest_of` a whole file.

    Raises:
        DataError: it cannot be read.
    """
    with reading(path), path.open("rb") as file:
        counted = file if meter is None else _Counted(file, meter)
        return hashlib.file_digest(counted, "sha256").digest()[:DIGEST_BYTES]


class _Counted:
    """What `hashlib` needs of a file; a meter hears of each part that is read."""

    def __init__(self, file: BinaryIO, meter: ProgressMeter):
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        read: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._meter.add(read)
        return read


def changed(path: Path) -> DataError:
    """The error for a file with another content than the one that was opened."""
    return DataError(
        f"{path} is not the file that it was when the text was opened: it was written or replaced since; restore it, "
        f"or start another run on the new text"
    )


class WatchedFiles:
    """Hashes files once, and notices when one is written, shortened, replaced or removed.

    Device, inode, size and time of modification decide that a file has to be hashed again; the content decides whether
    it is another.

    Args:
        paths: the files.

    Raises:
        DataError: a file cannot be read.
    """

    def __init__(self, paths: Iterable[Path]):
        self._signatures: dict[Path, tuple[int, ...]] = {}
        self._digests: dict[Path, bytes] = {}
        for path in paths:
            self._signatures[path] = signature(path)
        meter = ProgressMeter("hashing files", "bytes", sum(found[2] for found in self._signatures.values()))
        for path in self._signatures:
            self._digests[path] = digest_file(path, meter)

    def digest(self) -> str:
        """SHA-256 over the contents, in the order of the files."""
        return hashlib.sha256(b"".join(self._digests.values())).hexdigest()

    def check(self, *paths: Path) -> None:
        """Compare files with what they were; all of them if none is named.

        Raises:
            DataError: one has another content, or is gone.
        """
        for path in paths or tuple(self._signatures):
            before = self._signatures[path]
            try:
                now = signature(path)
            except DataError:
                raise changed(path) from None
            if now == before:
                continue
            if digest_file(path) != self._digests[path]:
                raise changed(path)
            self._signatures[path] = now


def signature(path: Path) -> tuple[int, ...]:
    """Device, inode, size and time of modification.

    Raises:
        DataError: it cannot be read.
    """
    with reading(path):
        found = os.stat(path)  # noqa: PTH116 (Path.stat is slower, and this is called for every document)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
