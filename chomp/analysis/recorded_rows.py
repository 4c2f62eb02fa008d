"""The metrics rows that a run has between two of its steps, and those that it must have there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chomp.record.json_text import natural
from chomp.record.line_files import parse_line
from chomp.record.manifest import CheckpointInfo
from chomp.record.timeline import Timeline

# As the engine writes rows, which is quicker than to parse all of a long run.
_STEP = re.compile(rb'\{"step":(\d{1,18})[,}]')


def rows_between(path: Path, begin: int, end: int) -> dict[int, dict[str, Any]]:
    """The metrics rows after step `begin` up to step `end`, by step; a damaged line is no row."""
    found: dict[int, dict[str, Any]] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                start = _STEP.match(line)
                if start is not None and not begin < int(start[1]) <= end:
                    continue
                row = parse_line(line) or {}
                step = natural(row.get("step"))
                if step is not None and "loss" in row:
                    found[step] = row
    except FileNotFoundError:
        return {}
    return found


def expected_rows(begin: int, end: int, infos: Sequence[CheckpointInfo], timeline: Timeline) -> list[int]:
    """The steps after `begin` up to `end` that got a row by `train.log_every`, and step 1.

    A resume may change the cadence: each step is judged by a checkpoint of the attempt that computed it. Steps of an
    attempt that left no checkpoint are not judged.
    """
    every = {_began(timeline, info.step): _log_every(info) for info in infos}
    found = []
    for step in range(begin + 1, end + 1):
        cadence = every.get(_began(timeline, step))
        if cadence is not None and (step == 1 or step % cadence == 0):
            found.append(step)
    return found


def _began(timeline: Timeline, step: int) -> int | None:
    attempt = timeline.attempt_of(step)
    return attempt.began if attempt is not None else None


def _log_every(info: CheckpointInfo) -> int | None:
    train = info.meta["identity"].get("train")
    return (natural(train.get("log_every")) or None) if isinstance(train, dict) else None
