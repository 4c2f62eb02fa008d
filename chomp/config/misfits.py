"""What does not fit the model of a file or a line, in our words; pydantic's own messages are never shown."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from chomp.config.suggest import nearest
from chomp.config.validate import describe

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with a value each",
    "mapping": "keys with a value each",
    "model": "keys with a value each",
    "datetime": "a time such as 2026-12-01 06:30",
}
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def first_misfit(error: ValidationError, model: type[BaseModel]) -> str:
    """The first misfit as `key.of.it: what is expected`.

    Args:
        model: of the file, whose keys are suggested for an unknown one at its top.
    """
    # Of a wrong key rather than of the missing one that it was meant for.
    found = sorted(error.errors(include_url=False), key=lambda one: one["type"] == "missing")
    first = found[0]
    place = ".".join(map(str, first["loc"]))
    words = _words(first["type"], first["input"], first.get("ctx", {}), first["loc"], model)
    return f"{place}: {words}" if place else words


def _words(kind: str, value: Any, facts: dict[str, Any], place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    if kind == "value_error":
        return str(facts["error"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()] if len(place) == 1 else []
        near = nearest(str(place[-1]), known)
        return f"unknown key; did you mean {near}?" if near else "unknown key"
    if kind == "literal_error":
        return f"expected {str(facts['expected']).replace(chr(39), '')}, got {describe(value)}"
    if kind in _LIMITS:
        limit, word = _LIMITS[kind]
        return f"must be {word} {facts[limit]}, got {describe(value)}"
    if kind in ("too_short", "too_long"):
        length = "min_length" if kind == "too_short" else "max_length"
        bound = f"at {'least' if kind == 'too_short' else 'most'} {facts[length]}"
        return f"has {facts['actual_length'] or 'no'} entries; {bound} needed"
    if kind == "string_too_short":
        return "must not be empty"
    expected = _EXPECTED.get(kind.partition("_")[0], "another value")
    return f"expected {expected}, got {describe(value)}"
