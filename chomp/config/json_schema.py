"""JSON Schema of the configuration file, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from chomp.config.fields import NAME
from chomp.config.spec import Setting, TableSpec, children, section_at, setting_at, table_at

_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "text": "string", "list": "array"}
_REFERENCE = {"$ref": "#/$defs/variable"}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12 schema: types, defaults, ranges and descriptions, units as `x-unit`, conditions as `x-when`.

    Every value may also be `$variables.NAME`, which is text to an editor.
    """
    root = _section("")
    root["properties"]["variables"] = {
        "type": ["object", "null"],
        "description": "Values to use elsewhere as $variables.NAME, or {$variables.NAME} inside a text.",
        "additionalProperties": {"type": ["string", "number", "boolean", "array", "null"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chomp configuration",
        "$defs": {"variable": {"type": "string", "pattern": r"^\$variables\.[A-Za-z_][A-Za-z0-9_]*$"}},
        **root,
    }


def _section(path: str) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for name in children(path):
        child = f"{path}.{name}" if path else name
        inner[name] = _child(child)
    section = section_at(path)
    assert section is not None
    return {
        "type": "object" if not path else ["object", "null"],
        "description": section.help,
        "properties": inner,
        "additionalProperties": False,
    }


def _child(path: str) -> dict[str, Any]:
    if (table := table_at(path)) is not None:
        return _table(table)
    setting = setting_at(path)
    return _section(path) if setting is None else _field(setting)


def _table(table: TableSpec) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": table.help,
        "patternProperties": {NAME: _child(f"{table.path}.NAME")},
        "additionalProperties": False,
    }


def _field(setting: Setting) -> dict[str, Any]:
    about: dict[str, Any] = {"description": setting.help, "default": setting.default}
    if setting.unit:
        about["x-unit"] = setting.unit
    if setting.group:
        about["x-group"] = setting.group
    if setting.when:
        about["x-when"] = setting.needs
    value = _value(setting)
    # Text takes a reference as it is; other types need it named as an alternative.
    return {**about, **value} if setting.kind == "text" else {**about, "anyOf": [value, _REFERENCE]}


def _value(setting: Setting) -> dict[str, Any]:
    if setting.kind == "choice":
        return {"enum": [*setting.choices, *([None] if setting.optional else [])]}
    kind = _TYPES[setting.kind]
    value: dict[str, Any] = {"type": [kind, "null"] if setting.optional else kind}
    if setting.kind == "list":
        value["items"] = {"type": "string"}
    limits = {
        "minimum": setting.minimum,
        "exclusiveMinimum": setting.above,
        "maximum": setting.maximum,
        "exclusiveMaximum": setting.below,
        "minLength": setting.min_length,
    }
    return {**value, **{name: limit for name, limit in limits.items() if limit is not None}}
