"""Values to a `Config`, and every misfit in our own words.

pydantic decides what fits; its messages are never shown. What is allowed is said from the
field's declaration.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from chomp.config.evaluation import as_entry
from chomp.config.fields import NAME_RULE
from chomp.config.problems import InvalidConfig, Problem
from chomp.config.scalars import Words, written
from chomp.config.schema import Config
from chomp.config.spec import Setting, section_at, setting_at, table_at
from chomp.config.suggest import dotted_key, nearest, unknown_key
from chomp.config.yaml_reader import Path, dotted, scalar

Locate = Callable[[Path], tuple[str, int | None]]

_HALF = {"float16", "fp16", "f16", "half"}


def nowhere(path: Path) -> tuple[str, int | None]:
    """The place of a value that came from no file."""
    return "", None


def build_config(values: dict[str, Any], locate: Locate = nowhere) -> Config:
    """Validate types, ranges and keys; raises `InvalidConfig` with every problem.

    Args:
        values: nested sections; a null section counts as an empty one.
        locate: gives (where, line) of a path for the messages.
    """
    tidy = _tidy(values, ())
    try:
        return Config.model_validate(tidy)
    except ValidationError as error:
        details = [(detail["loc"], detail["type"], detail["input"]) for detail in error.errors()]
    misnamed = {loc[:-1] for loc, _, _ in details if loc[-1] == "[key]"}
    problems = [
        _problem(*detail, locate)
        for detail in details
        if detail[0][-1] == "[key]" or not any(detail[0][: len(name)] == name for name in misnamed)
    ]
    raise InvalidConfig(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line is None, problem.line or 0)))


def config_from_dict(values: dict[str, Any]) -> Config:
    """Read back `Config.model_dump()`, or `config_resolved.json` with its `derived` section.

    Raises:
        InvalidConfig: a value that does not fit.
    """
    return build_config({name: value for name, value in values.items() if name != "derived"})


def _tidy(value: Any, path: Path) -> Any:
    """Null sections become empty, whole floats (`1e3`) become integers where those are meant."""
    name = dotted(path)
    if section_at(name) or table_at(name):
        if value is None:
            return {}
        if isinstance(value, dict):
            return {key: _tidy(item, (*path, key)) for key, item in value.items()}
    setting = setting_at(name)
    if setting and setting.kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _problem(loc: Path, kind: str, value: Any, locate: Locate) -> Problem:
    path = dotted(loc)
    where, line = locate(loc)
    if loc[0] == "notify" and isinstance(value, str):
        # Perhaps a URL or a token.
        value = "…"
    if loc[-1] == "[key]":
        where, line = locate(loc[:-1])
        return Problem(dotted(loc[:-2]), f"a name has {NAME_RULE}, got {describe(loc[-2])}", where, line)
    if kind == "extra_forbidden":
        is_dotted = any("." in part for part in loc if isinstance(part, str))
        message = dotted_key(path, _as_yaml(value)) if is_dotted else unknown_key(path)
        return Problem(path, message, where, line)
    if section := section_at(path):
        example = next(iter(section.kind.model_fields))
        message = f"expected a section with keys such as `{example}:` below it, got {describe(value)}"
        return Problem(path, message, where, line)
    if table_at(path):
        entry = as_entry(path, value)
        hint = f"; write {path.rpartition('.')[2]}: {{{entry}}}" if entry else ""
        return Problem(path, f"expected names with a value each below it, got {describe(value)}{hint}", where, line)
    setting = setting_at(dotted(tuple(part for part in loc if isinstance(part, str))))
    assert setting is not None
    return Problem(path, misfit(setting, value, inside_list=isinstance(loc[-1], int)), where, line)


def _as_yaml(value: Any) -> str:
    """A short value as a user writes it; three dots for a long one."""
    if isinstance(value, str):
        text = written(Words(value), inline=False)
    else:
        text = json.dumps(value) if value is None or isinstance(value, bool | int | float) else ""
    return text if 0 < len(text) <= 40 else "…"


def misfit(setting: Setting, value: Any, *, inside_list: bool = False) -> str:
    """Why a value does not fit a setting, and what would."""
    if "dtype" in setting.path and isinstance(value, str) and value.lower() in _HALF:
        return (
            f"float16 is not supported: the model library computes in float32 and bfloat16 only, and bfloat16 "
            f"needs no loss scaling; choose {' or '.join(setting.choices)}"
        )
    expected = "text" if inside_list else _expected(setting, value)
    hint = _hint(setting, value, inside_list)
    return f"expected {expected}, got {describe(value)}{f'; {hint}' if hint else ''}"


def _expected(setting: Setting, value: Any) -> str:
    """The range belongs into the sentence only when the type is right."""
    if setting.kind == "float" and isinstance(value, float) and not math.isfinite(value):
        return f"a finite {setting.noun.removeprefix('a ')}"
    of_its_type = {"int": int, "float": int | float, "text": str}.get(setting.kind)
    is_right = of_its_type is not None and isinstance(value, of_its_type) and not isinstance(value, bool)
    return setting.expected if is_right else setting.noun


def describe(value: Any) -> str:
    """A value and its type, short: `the text '60'`, `true`, `a list`."""
    if value is None:
        return "null (no value)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
    return "a list" if isinstance(value, list) else "a section"


def _hint(setting: Setting, value: Any, inside_list: bool) -> str:
    if isinstance(value, dict) and any(str(key).startswith("$variables") for key in value):
        return "YAML reads {…} without quotes as a section; write $variables.NAME, or quote the text"
    if value is None and not inside_list:
        return "write a value, or delete the line to use the default"
    if isinstance(value, str):
        return _hint_for_text(setting, value)
    if (setting.kind in ("text", "choice") or inside_list) and isinstance(value, bool | int | float):
        return "put text in quotes" if setting.kind != "choice" else ""
    return ""


def _hint_for_text(setting: Setting, text: str) -> str:
    plain = scalar(text)
    wanted = {"int": int, "float": int | float, "bool": bool}.get(setting.kind)
    if wanted and isinstance(plain, wanted) and isinstance(plain, bool) == (setting.kind == "bool"):
        return f"write {text} without quotes"
    if setting.kind == "list":
        return f"write a list: [{text}]" if len(text) <= 40 else "write a list: [a, b]"
    if setting.kind == "choice":
        similar = nearest(text, setting.choices, cutoff=0.5)
        return f"did you mean {similar}?" if similar else ""
    return "write null for none" if setting.optional and text.lower() == "none" else ""
