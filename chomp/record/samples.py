"""Samples of a run by the step whose parameters wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_samples(path: Path, steps: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """The rows of `samples.jsonl` of these steps, in order; none for steps without samples, or without the file.

    Torn lines, and lines that are not samples, are ignored.
    """
    found: dict[int, list[dict[str, Any]]] = {step: [] for step in steps}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        row = _parse(line)
        if row is not None and row["step"] in found:
            found[row["step"]].append(row)
    return found


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row if all(isinstance(row.get(key), str) for key in ("prompt", "text")) else None
