"""JSON of files that may be damaged."""

from __future__ import annotations

import json
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """`json.loads`, for which every text that is no JSON is a ValueError: one that is nested too deep, too.

    Raises:
        ValueError: it is no JSON that Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(str(error)) from None
