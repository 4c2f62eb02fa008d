"""Acting as a user whom permissions stop, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION_3 = 0x20080522
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root's leave to pass over the permissions of files.
PASSES_OVER = 0b110


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


@contextmanager
def plain_user() -> Iterator[None]:
    """Until its end, permissions of files stop this thread and those that it starts; what they execute is root again.

    What a plain user does not have is not taken from it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = _Header(VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _must(libc.capget(ctypes.byref(header), before))
    # Effective, permitted and inheritable sets, for capabilities 0 to 31; the permitted one lets it come back.
    without = type(before)(*before)
    without[0] &= ~PASSES_OVER
    _must(libc.capset(ctypes.byref(header), without))
    try:
        yield
    finally:
        _must(libc.capset(ctypes.byref(header), before))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Until its end, nothing can be written in `folder` and all below it."""
    kept = {path: path.stat().st_mode for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    with plain_user():
        for path, mode in kept.items():
            path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for path, mode in kept.items():
                # What was deleted in spite of it is for the test to find.
                if path.exists():
                    path.chmod(mode)


def _must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
