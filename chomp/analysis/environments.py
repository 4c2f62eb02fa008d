"""Measures the step of a configuration in two environments: flags count only where a process starts."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

from chomp.analysis.fit import MEASURED_SECONDS, ask, refusal
from chomp.config import Config
from chomp.device.comparison import Side

# The environments take turns, so that a device that grows warm, or another program, slows both alike.
TURNS = ("before", "after", "after", "before")


def measure(
    config: Config, environments: Mapping[str, Mapping[str, str]], seconds: float
) -> Generator[tuple[str, Side, dict[str, Any]], None, None]:
    """Yield each turn: the environment's name, what was measured, and the device.

    Args:
        environments: whole environments by the names in `TURNS`.
        seconds: for all turns together.

    Raises:
        ChompError: the configuration, its tokenizer or the device is at fault.
    """
    deadline = time.monotonic() + seconds
    request = {
        "config": config.model_dump(),
        "resolved": False,
        "others": False,
        "seconds": MEASURED_SECONDS,
        "memory_limit": None,
        "factor": 1.0,
    }
    for name in TURNS:
        answers = ask(request, deadline, environments[name])
        if "refused" in answers:
            raise refusal(answers)
        measured = answers.get("measured")
        if measured is None:
            yield name, Side(why=answers["failed"]), answers.get("device", {})
        else:
            memory = measured["peak_bytes"] or answers["compiled"]["memory"].get("total")
            yield name, Side(measured["tokens_per_second"], memory), answers["device"]


def better(one: Side | None, other: Side) -> Side:
    """The faster of two tries; one that failed counts only where there is no other."""
    if one is None or (one.tokens_per_second or 0) < (other.tokens_per_second or 0):
        return other
    return one
