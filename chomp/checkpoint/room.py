"""Whether a disk has room for a checkpoint."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from chomp.errors import CheckpointError
from chomp.record.manifest import CheckpointInfo

# Arrays are compressed, so that a checkpoint may take a little more than the one before it.
SPACE_MARGIN = 1.1
# Arrays are hardly ever compressed to less than this share: those of tokens that were not seen yet are zeros.
LEAST_SHARE = 0.5


def bytes_needed(infos: Sequence[CheckpointInfo]) -> int:
    """Bytes of the next checkpoint by the newest one; 0 where there is none."""
    return int(next((info.bytes for info in reversed(infos) if info.bytes), 0) * SPACE_MARGIN)


def size_of(items: Mapping[str, Any]) -> int:
    """Bytes of all arrays, without compression."""
    return sum(array.nbytes for array in jax.tree.leaves(items))


def lacking_room(way: Path, folder: Path, needed: int, why: str = "") -> CheckpointError | None:
    """The error if a disk has less than `needed` bytes free; None if it has enough.

    Args:
        way: a path to the folder.
        folder: its path for the user.
        why: what is said of a checkpoint, if not that it needs so many bytes.
    """
    try:
        free = shutil.disk_usage(way).free
    except OSError:
        # The save itself will say what is wrong with the folder.
        return None
    if free >= needed:
        return None
    return CheckpointError(f"{folder} has {free:,} bytes free, and a checkpoint {why or f'needs {needed:,}'}")


def judge_room(way: Path, folder: Path, needed: int, size: int) -> dict[str, str | None]:
    """What is wrong with the room for checkpoints (`problem`), and what may be (`doubt`).

    Args:
        way, folder: as for `lacking_room`.
        needed: bytes of the next one, or 0 if there is none to judge by.
        size: its bytes before compression.
    """
    first = partial(lacking_room, way, folder, why=f"has {size:,} bytes before compression")
    lacking = lacking_room(way, folder, needed) if needed else first(int(size * LEAST_SHARE))
    tight = None if needed else first(size)
    return {
        "problem": str(lacking) if lacking is not None else None,
        "doubt": f"there may be too little room: {tight}" if tight is not None else None,
    }


def above_size_limit(items: Mapping[str, Any]) -> CheckpointError | None:
    """The error if this process may not write a file as large as the largest array; None if it may."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(array.nbytes for array in jax.tree.leaves(items))
    if limit == resource.RLIM_INFINITY or largest <= limit:
        return None
    return CheckpointError(
        f"files may have at most {limit:,} bytes (ulimit -f), and a checkpoint has an array of {largest:,}"
    )
