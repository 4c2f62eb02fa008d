"""Parts of long line files, read without the rest: the end, the newest rows, a thinned curve."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from chomp.record.json_text import natural, number
from chomp.record.line_files import parse_line

# Longer than many rows.
LAST_ROWS_BYTES = 1 << 16
# How much is read at each place of a thinned-out row file; longer than any row.
ROW_BLOCK_BYTES = 4096
# In a metrics row, and in the `step` event that has the same row.
_LOSS = re.compile(
    rb'^\{(?:"v":\d+,"t":[\d.]+,"kind":"step",)?"step":\d+,"loss":(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)[,}]', re.MULTILINE
)


def read_tail(path: Path, limit: int) -> tuple[int, bytes]:
    """The whole lines within the last `limit` bytes of a file, and the offset at which they begin."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = max(0, size - limit)
        file.seek(start)
        data = file.read(size - start)
    if start:
        # The first line is cut, unless it happens to begin here; in both cases it is left out.
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    return start, data[: data.rfind(b"\n") + 1]


def last_rows(path: Path, most: int) -> list[dict[str, Any]]:
    """The newest rows of a row file, oldest first; none where there is no file."""
    try:
        _, lines = read_tail(path, LAST_ROWS_BYTES)
    except OSError:
        return []
    found = []
    for line in lines.splitlines()[-most:]:
        row = parse_line(line)
        if row is not None and natural(row.get("step")) is not None:
            found.append(row)
    return found


def last_row(path: Path) -> dict[str, Any] | None:
    """The newest row of a row file; None where there is none."""
    return next(reversed(last_rows(path, 2)), None)


def last_row_t(path: Path) -> float | None:
    """The Unix time of the newest row of a row file; None where it has none, as in files of older versions."""
    t = number((last_row(path) or {}).get("t"))
    return t if t > 0 else None


def last_save_seconds(path: Path) -> float:
    """How long the last save took of which an event log tells near its end; 0 where it tells of none."""
    try:
        _, lines = read_tail(path, LAST_ROWS_BYTES)
    except OSError:
        return 0.0
    found = [parse_line(line) or {} for line in lines.splitlines() if b'"committed"' in line]
    seconds = (number(event.get("seconds")) for event in reversed(found) if event.get("kind") == "checkpoint")
    return next((one for one in seconds if one > 0), 0.0)


def thinned_losses(path: Path, points: int) -> tuple[float, ...]:
    """About `points` training losses spread over a file of rows or events, first to last; none without the file."""
    try:
        with path.open("rb") as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size
            if size <= points * ROW_BLOCK_BYTES:
                return _spread([float(found) for found in _LOSS.findall(file.read())], points)
            found = [_first_loss(fd, size * place // points) for place in range(points)]
            last = _LOSS.findall(os.pread(fd, ROW_BLOCK_BYTES, size - ROW_BLOCK_BYTES))
    except OSError:
        return ()
    return tuple(float(text) for text in [*found, *last[-1:]] if text is not None)


def _first_loss(fd: int, place: int) -> bytes | None:
    match = _LOSS.search(os.pread(fd, ROW_BLOCK_BYTES, place))
    return match[1] if match else None


def _spread(values: list[float], points: int) -> tuple[float, ...]:
    if len(values) <= points:
        return tuple(values)
    return tuple(values[place * (len(values) - 1) // (points - 1)] for place in range(points))
