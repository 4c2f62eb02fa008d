"""How one configuration field is declared: default, range, unit, help, in one place.

Validation, the generated reference, the JSON Schema and the console's form are all read
from these declarations.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

# Steps are counted in int32 on the device, seeds are uint32 there.
MAX_STEPS = 2**31 - 1
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


def setting(default: Any, help: str, *, unit: str | None = None, group: str | None = None, **limits: Any) -> Any:
    """Declare a field.

    Args:
        default: the value used when the key is absent.
        help: one line for the reference and the form.
        unit: what the number counts, e.g. "tokens" or "steps".
        group: the heading under which a form shows the field.
        limits: pydantic constraints (`ge`, `gt`, `le`, `lt`, `min_length`).
    """
    extra: JsonDict = {name: value for name, value in (("unit", unit), ("group", group)) if value is not None}
    return Field(default, description=help, json_schema_extra=extra or None, **limits)


def section(kind: type[Section], help: str) -> Any:
    """Declare a nested section whose default is all of its own defaults."""
    return Field(default_factory=kind, description=help)
