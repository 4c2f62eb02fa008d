"""Events and event files of made-up runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chomp.record.codec import encode, json_line
from chomp.record.events import Event, Phase, RunEnded, RunStarted, Step

T0 = 1_800_000_000.0


def started(resumed_from: int | None = None, *, attempt: int = 1, t: float = T0, total_steps: int = 1000) -> RunStarted:
    return RunStarted(
        pid=4711,
        host="box",
        attempt=attempt,
        resumed_from=resumed_from,
        versions={"chomp": "0.1.0"},
        device={"platform": "cpu", "name": "cpu", "count": 1},
        environment={},
        parameters=24_960,
        tokens_per_step=256,
        total_steps=total_steps,
        tokens_seen=(resumed_from or 0) * 250,
        t=t,
    )


def row(step: int, *, t: float | None = None, **values: Any) -> Step:
    """The metrics row of a step that takes a second."""
    numbers = {
        "step": step,
        "loss": 4.0 - step / 1000,
        "grad_norm": 0.7162928581237793,
        "lr": 0.0010683649452403188,
        "tokens_seen": step * 250,
        "tokens_per_sec": 250.5,
        "step_time_s": 1.0,
        "packing_mode": "sequential",
        "packing_utilization": 0.9766,
        "host_memory_gb": 0.263,
    }
    return Step(row={**numbers, **values}, t=T0 + step if t is None else t)


def phase(name: Any, step: int = 0, *, t: float = T0) -> Phase:
    return Phase(name=name, step=step, t=t)


def ended(status: Any = "completed", step: int = 0, *, t: float = T0, **values: Any) -> RunEnded:
    fields = {"reason": "all steps done", "exit_code": 0, "time_budget_seconds": {}}
    return RunEnded(status=status, step=step, t=t, **{**fields, **values})


def lines(events: Iterable[Event]) -> bytes:
    """Lines of an event log; rows are in it as in version 1."""
    return b"".join(encode(event, event.t) for event in events)


def row_lines(events: Iterable[Event]) -> bytes:
    """Lines of `metrics.jsonl`: the rows among these events."""
    return b"".join(json_line({**event.row, "t": event.t}) for event in events if isinstance(event, Step))


def write(path: Path, events: Iterable[Event], *, version: int = 2) -> Path:
    """A run directory at `path` with these events, after those that are there; in version 1 rows are among them."""
    path.mkdir(parents=True, exist_ok=True)
    events = list(events)
    with (path / "events.jsonl").open("ab") as file:
        file.write(lines(event for event in events if version == 1 or not isinstance(event, Step)))
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(row_lines(events if version == 2 else []))
    return path
