"""How one configuration field is declared: default, range, unit, help, in one place.

Validation, the generated reference, the JSON Schema and the console's form are all read
from these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Condition = Mapping[str, Any]
"""Paths of other settings -> the values that they must have, or `SET`; `.NAME` is a neighbour in the same section."""
SET = "*"
"""In a condition: any value but null, false, 0 and an empty text or list."""

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
Name = Annotated[str, Field(pattern=NAME)]
"""A name that the user gives to an entry of a table."""
NAME_RULE = "letters, digits, _ and -, a letter first, at most 32 characters"

# Steps are counted in int32 on the device, seeds are uint32 there.
MAX_STEPS = 2**31 - 1
# Counted by the host alone; larger numbers are not exact in every reader of JSON.
MAX_TOKENS = 2**53
MAX_SEED = 2**32 - 1
# Of one continuation: a place in it and its prompt is counted in int32.
MAX_NEW_TOKENS = 2**24
# 30 years; timers of the operating system overflow at ten times that.
MAX_SECONDS = 1e9
# Logits divided by more are all alike.
MAX_TEMPERATURE = 1e9


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys and values of another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        protected_namespaces=(),
        validate_default=True,
        allow_inf_nan=False,
    )


def setting(
    default: Any,
    help: str,
    *,
    unit: str | None = None,
    group: str | None = None,
    unset: str | None = None,
    when: Condition | Sequence[Condition] = (),
    **limits: Any,
) -> Any:
    """Declare a field.

    Args:
        default: the value used when the key is absent.
        help: one line for the reference and the form.
        unit: what the number counts, e.g. "tokens" or "steps".
        group: the heading under which a form shows the field.
        unset: the word for null, e.g. "auto" or "off".
        when: the run reads the field only if a condition holds: one, or one of several.
        limits: pydantic constraints (`ge`, `gt`, `le`, `lt`, `min_length`).
    """
    words = (("unit", unit), ("group", group), ("unset", unset))
    extra: JsonDict = {name: value for name, value in words if value is not None}
    return Field(default, description=help, json_schema_extra={**extra, **_conditions(when)} or None, **limits)


def section(kind: type[Section], help: str, *, when: Condition | Sequence[Condition] = ()) -> Any:
    """Declare a nested section whose default is all of its own defaults.

    Args:
        when: the run reads the section only if a condition holds.
    """
    return Field(default_factory=kind, description=help, json_schema_extra=_conditions(when) or None)


def table(help: str) -> Any:
    """Declare entries under names that the user chooses: sections, or numbers. There are none by default."""
    return Field(default_factory=dict, description=help)


def _conditions(when: Condition | Sequence[Condition]) -> JsonDict:
    every = [when] if isinstance(when, Mapping) else list(when)
    return {"when": [dict(one) for one in every]} if every else {}
