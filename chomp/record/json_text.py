"""JSON of files that may be damaged, and the numbers in it."""

from __future__ import annotations

import json
import math
from typing import Any

# The largest count that a float holds exactly.
LARGEST_COUNT = 2**53


def parse_json(content: str | bytes) -> Any:
    """`json.loads`, for which every text that is no JSON is a ValueError: one that is nested too deep, too.

    Raises:
        ValueError: it is no JSON that Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def number(value: object) -> float:
    """`value` as a finite float, NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        result = float(value)
    except OverflowError:
        return math.nan
    return result if math.isfinite(result) else math.nan


def natural(value: object) -> int | None:
    """`value` if it is a whole number that can count steps, bytes or tokens, else None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        return None
    return value
