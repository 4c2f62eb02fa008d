"""Events whose fields have the types they are declared with, whatever the file said."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from chomp.record.events import KINDS, Event, Step, Unknown, Warned

# Steps beyond this cannot be told apart in a float.
MOST = 2**53
NAN = math.nan


def number(value: object) -> float:
    """`value` as a finite float, NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NAN
    try:
        result = float(value)
    except OverflowError:
        return NAN
    return result if math.isfinite(result) else NAN


def natural(value: object) -> int | None:
    """`value` if it is a whole number that can count steps, bytes or tokens, else None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        return None
    return value


def _optional_number(value: object) -> float | None:
    result = number(value)
    return None if result is NAN else result


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(convert: Callable[[object], Any]) -> Callable[[object], dict[str, Any]]:
    def mapped(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {}
        converted = {str(key): convert(item) for key, item in value.items()}
        return {key: item for key, item in converted.items() if item is not None}

    return mapped


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _naturals(value: object) -> list[int]:
    found = [natural(item) for item in value] if isinstance(value, list) else []
    return [item for item in found if item is not None]


def _plain(value: object) -> str | int | float | None:
    """A value that can be shown on one line; None for anything deeper."""
    return value if isinstance(value, (str, int, float)) else None


# By the annotation in chomp/record/events.py; all names of phases, states and endings are texts.
_CONVERTERS: dict[str, Callable[[object], Any]] = {
    "int": lambda value: natural(value) or 0,
    "int | None": natural,
    "float": number,
    "float | None": _optional_number,
    "str": _text,
    "str | None": lambda value: value if isinstance(value, str) else None,
    "bool": lambda value: value is True,
    "list[str]": _texts,
    "list[int]": _naturals,
    "dict[str, str]": _mapping(lambda value: value if isinstance(value, str) else None),
    "dict[str, int]": _mapping(natural),
    "dict[str, float]": _mapping(_optional_number),
    "dict[str, Any]": _mapping(_plain),
}


_FIELDS: dict[str, tuple[tuple[str, Callable[[object], Any]], ...]] = {
    kind: tuple((f.name, _CONVERTERS.get(str(f.type), _text)) for f in dataclasses.fields(cls) if f.name != "t")
    for kind, cls in KINDS.items()
}


def sane(event: Event) -> Event:
    """`event` with every field of its declared type, or `Unknown` if it names no step where it must.

    A number that is none becomes NaN (0 where it counts), a text that is none becomes empty,
    and an optional value that makes no sense is taken for absent.
    """
    t = number(event.t)
    if isinstance(event, (Step, Unknown)):
        return dataclasses.replace(event, t=t)
    if "step" in event.__dict__ and natural(event.__dict__["step"]) is None and not isinstance(event, Warned):
        return Unknown(name=event.kind, fields={}, t=t)
    fields = {name: convert(event.__dict__[name]) for name, convert in _FIELDS[event.kind]}
    return type(event)(**fields, t=t)
