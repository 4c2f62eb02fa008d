"""The costliest operations of a profile as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chomp.record.events import Profiled
from chomp.record.formatting import elapsed, one_line, plural, size
from chomp.record.json_text import natural, number

HEAD = f"{'share':>6}  {'per step':>9}  {'calls':>6}  operation"


def profile_lines(event: Profiled) -> list[str]:
    """What was traced, and the table; text that an operation's name holds is made harmless."""
    first = max(1, event.step - event.steps + 1)
    traced = f"steps {first:,} to {event.step:,}" if event.steps > 1 else f"step {event.step:,}"
    lines = [f"profile of {traced}: {one_line(event.path)} ({size(event.bytes)}), {_busy(event)}"]
    return [*lines, HEAD, *(_row(one, event) for one in event.operations)] if event.operations else lines


def _busy(event: Profiled) -> str:
    words = f"{elapsed(event.seconds / max(1, event.steps))} a step"
    if not math.isfinite(event.busy_seconds) or not event.seconds > 0:
        return f"{words}, no operation of a device was traced"
    of = plural(event.devices, "device")
    return f"{words}, operations take {event.busy_seconds / event.seconds / max(1, event.devices):.0%} of {of}"


def _row(operation: Mapping[str, Any], event: Profiled) -> str:
    seconds, calls, steps = number(operation.get("seconds")), natural(operation.get("calls")), max(1, event.steps)
    share = f"{seconds / event.busy_seconds:.1%}" if event.busy_seconds > 0 and math.isfinite(seconds) else "-"
    spent = elapsed(seconds / steps) if math.isfinite(seconds) else "-"
    # Steps need not call an operation equally often: a trace may hold a part of one.
    often = f"{calls / steps:.4g}" if calls is not None else "-"
    name, instruction = (one_line(str(operation.get(key) or "")) for key in ("name", "instruction"))
    return f"{share:>6}  {spent:>9}  {often:>6}  {name}" + (f"  [{instruction}]" if instruction else "")
