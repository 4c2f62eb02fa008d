"""Temporary folders, or a sentence about why there can be none."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chomp.errors import RunDirError


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder that only this user reads, deleted at the end.

    Raises:
        RunDirError: no folder for temporary files can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise no_temporary_folder(error) from None
    with folder as name:
        yield Path(name)


def no_temporary_folder(error: OSError) -> RunDirError:
    """The error of a process that finds no folder for temporary files."""
    return RunDirError(
        f"no temporary folder can be written ({error.strerror}); set TMPDIR to a folder that exists and that you may "
        "write to"
    )
