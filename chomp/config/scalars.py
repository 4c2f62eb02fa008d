"""Values as YAML on one line, quoted where the parser would read them as something else."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from chomp.config.yaml_reader import scalar

_SHORT = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True)
class Plain:
    """Written without quotes where YAML allows it: a number, a word such as `true`, a reference."""

    text: str


@dataclass(frozen=True)
class Words:
    """A text that must be read back as this very text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """YAML that is written verbatim."""

    text: str


Wanted = Plain | Words | Items | Source


def written(wanted: Wanted, *, inline: bool, style: str | None = None) -> str:
    """The YAML of a value on one line.

    Args:
        inline: whether it is inside `{…}` or `[…]`, where commas and brackets need quotes.
        style: the quotes of the value it replaces; texts keep them.
    """
    if isinstance(wanted, Source):
        return wanted.text
    if isinstance(wanted, Items):
        return f"[{', '.join(written(Words(text), inline=True) for text in wanted.texts)}]"
    if isinstance(wanted, Plain):
        return wanted.text if is_plain(wanted.text, inline=inline) else _double_quoted(wanted.text)
    text = wanted.text
    if style == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    if style == '"' or not is_plain(text, inline=inline) or not isinstance(scalar(text), str):
        return _double_quoted(text)
    return text


def is_plain(text: str, *, inline: bool) -> bool:
    """Whether the parser reads these characters, unquoted, as one scalar of just this text."""
    if not text or "\n" in text or "\r" in text:
        return False
    probe = f"{{k: {text}}}" if inline else f"k: {text}\n"
    try:
        node = yaml.compose(probe, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return False
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        return False
    value = node.value[0][1]
    return isinstance(value, yaml.ScalarNode) and value.style is None and value.value == text


def _double_quoted(text: str) -> str:
    return f'"{"".join(_escaped(letter) for letter in text)}"'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if letter.isprintable():
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
