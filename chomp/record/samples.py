"""Samples of a run by the step whose parameters wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chomp.record.line_files import parse_line

_STEP = re.compile(rb'"step":\s*(\d{1,18})\b')


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
        # Parsing a long file takes long, and most lines are of other steps.
        named = _STEP.search(line)
        if named is None or int(named[1]) not in found:
            continue
        row = parse_line(line) or {}
        is_sample = isinstance(row.get("step"), int) and all(
            isinstance(row.get(key), str) for key in ("prompt", "text")
        )
        if is_sample and row["step"] in found:
            found[row["step"]].append(row)
    return found
