"""Converts the text of a field to YAML and back."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from chomp.config.scalars import Items, Plain, Source, Wanted, Words, written
from chomp.config.spec import Setting
from chomp.config.yaml_reader import read_flow

_NULLS = ("null", "none", "~")
_WHOLE_REFERENCE = re.compile(r"\$variables\.[A-Za-z_][A-Za-z0-9_]*\Z")


def typed(setting: Setting, text: str) -> Wanted:
    """What the text of a field means for its setting.

    A value that does not fit is passed on as it is: validation says what is wrong with it.
    """
    word = text.strip()
    if is_null(setting, word):
        return Plain("null")
    if _WHOLE_REFERENCE.match(word):
        return Plain(word)
    if setting.kind == "list":
        return _typed_list(word)
    if setting.kind in ("text", "choice"):
        return Words(_unquoted(text) if setting.kind == "text" else word)
    return Plain(word)


def is_null(setting: Setting, text: str) -> bool:
    """Whether the text of a field means null; the setting's own word for it does, too, where it can be no value."""
    words = _NULLS if setting.kind == "text" else (*_NULLS, setting.unset)
    return setting.optional and text.strip().lower() in words


def typed_variable(text: str) -> Wanted:
    """What is typed for a variable, which has no type of its own: YAML, or a text that is none."""
    word = text.strip()
    try:
        node = yaml.compose(f"k: {word}\n", Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return Plain(word)
    value = node.value[0][1] if isinstance(node, yaml.MappingNode) else None
    ends = value is not None and value.end_mark.index == len(word) + 3
    return Source(word) if ends and isinstance(value, yaml.ScalarNode) and "\n" not in word else Plain(word)


def _typed_list(word: str) -> Wanted:
    if not word.startswith("["):
        return Items(tuple(part.strip() for part in word.split(",") if part.strip()))
    try:
        return Items(tuple(read_flow(word)))
    except (yaml.YAMLError, RecursionError):
        return Plain(word)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def shown_words(text: str) -> str:
    """A text as its field shows it: quoted only where it would be misread."""
    misread = not text or text != text.strip() or text.lower() in _NULLS or text.startswith('"')
    # Control characters are shown escaped.
    return json.dumps(text, ensure_ascii=not text.isprintable()) if misread or not text.isprintable() else text


def shown_items(texts: tuple[str, ...]) -> str:
    """A list as its field shows it: `[a, "b, c"]`."""
    items = (written(Words(text), inline=True, style=None if text.isprintable() else '"') for text in texts)
    return f"[{', '.join(items)}]"


def shown_value(value: Any) -> str:
    """A value as a field and a hint show it, by the rules of the configuration."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return shown_items(tuple(str(item) for item in value))
    return shown_words(value) if isinstance(value, str) else str(value)


def _number(value: float) -> str:
    """`0.0003` as `3e-4`, `100.0` as `100.0`; it reads back as the same number."""
    text = repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    short = f"{float(mantissa):g}e{int(exponent)}"
    return short if value and abs(value) < 1e-2 and float(short) == value else text
