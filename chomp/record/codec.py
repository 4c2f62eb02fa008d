"""One event to one JSON line and back."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from typing import Any

from chomp.record.events import KINDS, Event, Step, Unknown

FORMAT_VERSION = 2
# Event logs of this version hold metrics rows, as `step` events.
ROWS_VERSION = 1
# JSON lets these stand: terminals obey the C1 controls, and `str.splitlines` breaks lines at the rest.
_LEFT_RAW = re.compile("[\x7f-\x9f\u2028\u2029]")


def jsonable(value: Any) -> Any:
    """Replace floats that JSON cannot hold (NaN, infinities) by null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def json_line(record: dict[str, Any]) -> bytes:
    """One record as one UTF-8 line; control characters and foreign line ends in text are escaped."""
    text = json.dumps(jsonable(record), ensure_ascii=False, separators=(",", ":"))
    return (_LEFT_RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n").encode("utf-8", "backslashreplace")


def encode(event: Event, t: float) -> bytes:
    """The line for `event` at Unix time `t`."""
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event) if f.name != "t"}
    if isinstance(event, Step):
        fields = dict(event.row)
    kind, version = event.kind, ROWS_VERSION if isinstance(event, Step) else FORMAT_VERSION
    if isinstance(event, Unknown):
        kind, fields = event.name, dict(event.fields)
    return json_line({"v": version, "t": round(t, 3), "kind": kind, **fields})


def decode(line: bytes | str) -> Event | None:
    """The event in one line, or None for a line that holds no event.

    Kinds this version does not know become `Unknown`, and so do known kinds whose
    required fields are missing; fields it does not know are dropped.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return None
    name = record.pop("kind")
    record.pop("v", None)
    t = _seconds(record.pop("t", 0.0))
    cls = KINDS.get(name)
    if cls is None:
        return Unknown(name=name, fields=record, t=t)
    if cls is Step:
        return Step(row=record, t=t)
    known, required = _fields(name)
    if not required <= record.keys():
        return Unknown(name=name, fields=record, t=t)
    return cls(**{key: value for key, value in record.items() if key in known}, t=t)


@functools.cache
def _fields(kind: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the fields of events of a known kind, and of those that have no default."""
    fields = dataclasses.fields(KINDS[kind])
    required = (f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)
    return frozenset(f.name for f in fields), frozenset(required)


def _seconds(value: Any) -> float:
    """A time as it stands in a line; 0 where it is none."""
    try:
        return float(value) if isinstance(value, (int, float)) else 0.0
    except OverflowError:
        return 0.0
