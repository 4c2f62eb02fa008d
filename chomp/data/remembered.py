"""Files that were looked at and found good, remembered while they stay as they are.

Pre-flight of a form asks at each edit. A process that forks its commands, as `chomp.cli.helper` does, remembers for all
of them: what a command learns it tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from chomp.data.sources.watched import signature

MOST = 1_000

# The newest last; the values mean nothing.
_known: dict[str, None] = {}
_tell: list[Callable[[str], None]] = []


def once(question: Sequence[str], files: Iterable[Path], look: Callable[[], object]) -> None:
    """Call `look`, unless it found nothing to say about the same question and the same files before.

    A file is the same while device, inode, size and time of modification are. What `look` raises is not remembered.

    Args:
        question: what is asked, and all but the files that the answer depends on.
        files: all that `look` reads.

    Raises:
        DataError: a file cannot be read.
    """
    said = [*question, *((str(path.absolute()), *signature(path)) for path in files)]
    key = hashlib.sha256(json.dumps(said).encode("utf-8", "surrogatepass")).hexdigest()
    if key in _known:
        return
    look()
    learn(key)
    for tell in _tell:
        tell(key)


def learn(key: str) -> None:
    """Remember what another process has found."""
    _known[key] = None
    while len(_known) > MOST:
        del _known[next(iter(_known))]


def tell_to(listener: Callable[[str], None]) -> None:
    """Call `listener` with what this process finds from now on."""
    _tell.append(listener)
