"""What earlier attempts left: rows that stay true after a resume, and time that was lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chomp.events import Event, Phase, RunEnded, RunStarted
from chomp.rundir import write_whole


def keep_rows_up_to(path: Path, step: int) -> int:
    """Rewrite a row file without the rows after `step` and without torn lines; returns how many went."""
    if not path.exists():
        return 0
    kept: list[bytes] = []
    gone = 0
    for line in path.read_bytes().splitlines(keepends=True):
        row = _parse(line)
        if row is not None and line.endswith(b"\n") and row["step"] <= step:
            kept.append(line)
        else:
            gone += 1
    if gone:
        write_whole(path, b"".join(kept))
    return gone


def seconds_beyond(events: Iterable[Event], since: float) -> float:
    """Seconds that the attempts in `events` worked after `since` (Unix time).

    An attempt lasts from its start to its end, or to the last thing it said if it was killed;
    what stands between two attempts, such as a resume that was refused, is nobody's work.
    """
    total, began, last = 0.0, None, 0.0
    for event in events:
        # A new engine's first word is that it reads the data; the one before it said its last before that.
        arrived = isinstance(event, Phase) and event.name == "data"
        if not arrived:
            last = event.t
        if (arrived or isinstance(event, RunEnded)) and began is not None:
            total += max(0.0, last - max(began, since))
            began = None
        if isinstance(event, RunStarted):
            began = event.t
    return total + (max(0.0, last - max(began, since)) if began is not None else 0.0)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
