"""Row files stay true after a resume: no step twice, none beyond the restored one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a file; an absent file has none."""
    if not path.exists():
        return []
    rows = (_parse(line) for line in path.read_bytes().splitlines())
    return [row for row in rows if row is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
