"""`-o KEY=VALUE`: dotted keys, values read by the declared type of their field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from chomp.config.evaluation import as_entry
from chomp.config.spec import Setting, children, section_at, setting_at, table_at
from chomp.config.suggest import unknown_key
from chomp.config.variables import is_reference
from chomp.config.yaml_reader import FLOAT, INTEGER, read_flow, scalar

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class BadOverride(ValueError):
    """An override that cannot be read.

    Attributes:
        path: the dotted key; empty when there is none.
    """

    def __init__(self, path: str, message: str):
        super().__init__(message)
        self.path = path


def parse_override(text: str) -> tuple[str, Any]:
    """Split and read one `KEY=VALUE`.

    Returns:
        dotted key and typed value; `variables.NAME` takes any plain YAML value.

    Raises:
        BadOverride: no `=`, an unknown key, a section as key, a value of another type.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise BadOverride("", f"expected KEY=VALUE such as train.steps=100, got {text!r} without =")
    if not key:
        raise BadOverride("", f"expected KEY=VALUE such as train.steps=100, got {text!r} without a key")
    if key.startswith("variables."):
        return key, _any_value(value)
    if key == "variables":
        raise BadOverride(key, "set one variable at a time: variables.NAME=VALUE")
    if section_at(key) or table_at(key):
        raise BadOverride(key, f"is a section; set one of its keys, such as {key}.{_example(key, value)}")
    setting = setting_at(key)
    if setting is None:
        raise BadOverride(key, unknown_key(key))
    if is_reference(value):
        return key, value
    return key, read_value(setting, value)


def shown_override(text: str) -> str:
    """An override as an error shows it; values of `notify` are left out, since a user may put a secret there."""
    key = text.partition("=")[0].strip()
    return f"-o {key}=…" if key.startswith("notify.") else f"-o {text}"


def read_value(setting: Setting, text: str) -> Any:
    """Read text as the setting's type; raises BadOverride.

    A whole number may be written `1e3`, a boolean `true/yes/on/1` or `false/no/off/0`, a
    list `[a, b]` or `a,b`; `null` or `none` clears an optional setting.
    """
    word = text.strip()
    if setting.optional and word.lower() in ("null", "none", "~"):
        return None
    value = _READERS[setting.kind](text)
    if value is None:
        # A value of `notify` may be a secret.
        got = "…" if setting.path.startswith("notify.") else repr(text)
        raise BadOverride(setting.path, f"expected {setting.noun}, got {got}")
    return value


def _read_int(text: str) -> int | None:
    word = text.strip()
    if INTEGER.match(word):
        return int(scalar(word))
    if FLOAT.match(word):
        number = float(scalar(word))
        return int(number) if number.is_integer() else None
    return None


def _read_float(text: str) -> float | None:
    word = text.strip()
    return float(scalar(word)) if INTEGER.match(word) or FLOAT.match(word) else None


def _read_list(text: str) -> list[str] | None:
    word = text.strip()
    if not word.startswith("["):
        return [part.strip() for part in word.split(",")] if word else []
    try:
        items = read_flow(word)
    except yaml.YAMLError:
        return None
    return [str(item) for item in items]


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _read_int,
    "float": _read_float,
    "bool": lambda text: _BOOLEANS.get(text.strip().lower()),
    "list": _read_list,
    "text": str,
    # An unknown choice is refused with the others of its kind, by validation.
    "choice": str.strip,
}


def _any_value(text: str) -> Any:
    if text.strip().startswith("["):
        try:
            return [scalar(item) for item in read_flow(text)]
        except yaml.YAMLError:
            return text
    return scalar(text.strip()) if not isinstance(scalar(text.strip()), str) else text


def _example(key: str, value: str) -> str:
    """A key below `key` with a value: of a text `NAME=VALUE` that names an entry, what it means."""
    name, _, rest = as_entry(key, value.strip()).partition(": ")
    leaf, _, meant = rest.strip("{}").partition(": ")
    return f"{name}.{leaf}={meant}" if name else f"{_first_leaf(key)}=…"


def _first_leaf(section: str) -> str:
    if (table := table_at(section)) is not None:
        return "NAME" if table.entry is None else f"NAME.{_first_leaf(f'{section}.NAME')}"
    return next(name for name in children(section) if setting_at(f"{section}.{name}"))
