"""One event to one JSON line and back."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Union

from chomp.record.events import KINDS, Event, Phase, Step, Unknown
from chomp.record.line_files import parse_line

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT_VERSION = 2
# Event logs of this version hold metrics rows, as `step` events.
ROWS_VERSION = 1
# JSON does not escape these: terminals obey the C1 controls, and `str.splitlines` breaks lines at the rest.
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
    if isinstance(event, Phase) and event.last_row_t is None:
        del fields["last_row_t"]
    kind, version = event.kind, ROWS_VERSION if isinstance(event, Step) else FORMAT_VERSION
    if isinstance(event, Unknown):
        kind, fields = event.name, dict(event.fields)
    return json_line({"v": version, "t": round(t, 3), "kind": kind, **fields})


def decode(line: bytes | str) -> Event | None:
    """The event in one line, or None for a line that holds no event.

    Kinds this version does not know become `Unknown`, and so do known kinds with a required
    field that is missing or does not fit; keys it does not know are dropped. An optional
    field that does not fit takes its default.
    """
    record = parse_line(line)
    if record is None or not isinstance(record.get("kind"), str):
        return None
    kind = record.pop("kind")
    record.pop("v", None)
    t = _seconds(record.pop("t", 0.0))
    if kind == Step.kind:
        return Step(row=record, t=t)
    if kind not in KINDS:
        return Unknown(name=kind, fields=record, t=t)
    try:
        return _events().validate_python({**record, "kind": kind, "t": t})
    except ValueError:
        return Unknown(name=kind, fields=record, t=t)


@functools.cache
def _events() -> TypeAdapter[Event]:
    """The union of all kinds of events, discriminated by `kind`."""
    from pydantic import Discriminator, Tag, TypeAdapter

    kinds: Any = Union[tuple(Annotated[cls, Tag(kind)] for kind, cls in KINDS.items())]  # noqa: UP007
    return TypeAdapter(Annotated[kinds, Discriminator(lambda record: record["kind"])])


def _seconds(value: Any) -> float:
    """The time of a line; 0 where it has none."""
    try:
        t = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
    except OverflowError:
        return 0.0
    return t if math.isfinite(t) else 0.0
