"""YAML text to plain values with the line of every key.

Safe only: tags that would build objects are refused. Scalars follow YAML 1.2 where 1.1
surprises: `3e-4` is a number, `12:30` and `2024-01-01` are text, `010` is ten. As in
YAML 1.1, bare `yes/no/on/off` are booleans; bare `None` is null, as in Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from chomp.config.problems import InvalidConfig, Problem

Path = tuple[str | int, ...]

# A file of this many values is not a configuration; aliases can multiply a short one into gigabytes.
MAX_VALUES = 20_000

# Python refuses to convert thousands of digits; no setting needs a hundred.
INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F][0-9a-fA-F_]{0,99}|[0-9][0-9_]{0,99})\Z")
FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))\Z"
    r"|\.(?:nan|NaN|NAN)\Z"
)
_TRUE = re.compile(r"(?:true|True|TRUE|yes|Yes|YES|on|On|ON)\Z")
_FALSE = re.compile(r"(?:false|False|FALSE|no|No|NO|off|Off|OFF)\Z")
_NULL = re.compile(r"(?:~|null|Null|NULL|None|)\Z")

# What a node without an explicit tag carries.
_UNTAGGED = "untagged"


class _Loader(yaml.SafeLoader):
    """Composes nodes; plain scalars stay unresolved, `scalar` below gives them their type."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    DEFAULT_SCALAR_TAG = _UNTAGGED  # type: ignore[misc]
    DEFAULT_SEQUENCE_TAG = _UNTAGGED  # type: ignore[misc]
    DEFAULT_MAPPING_TAG = _UNTAGGED  # type: ignore[misc]


@dataclass(frozen=True)
class YamlDocument:
    """A parsed file.

    Attributes:
        values: the top-level mapping.
        lines: line (from 1) of each key and list item, by its path.
    """

    values: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)


def scalar(text: str) -> Any:
    """The value of an unquoted scalar: null, bool, int, float or the text itself."""
    if _NULL.match(text):
        return None
    if _TRUE.match(text):
        return True
    if _FALSE.match(text):
        return False
    if INTEGER.match(text):
        digits = text.replace("_", "")
        return int(digits, 16) if "x" in digits else int(digits)
    if FLOAT.match(text):
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def read_yaml(text: str, source: str, *, example: str = "section, such as `train:`") -> YamlDocument:
    """Parse one YAML mapping.

    Args:
        example: what the file has at its top, for messages.

    Raises:
        InvalidConfig: not YAML, empty, not a mapping, a key twice, a tag; with file, line and column.
    """
    node = _compose(text, source)
    if node is None:
        raise InvalidConfig([Problem("", f"the file is empty; write at least one {example}", source)])
    if not isinstance(node, yaml.MappingNode):
        got = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        words = example.replace(",", "s", 1)
        raise InvalidConfig([Problem("", f"expected {words} at the top, got {got}", _at(source, node), _line(node))])
    builder = _Builder(source)
    values = builder.build(node, ())
    if builder.problems:
        raise InvalidConfig(builder.problems)
    return YamlDocument(values, builder.lines)


def read_flow(text: str) -> Any:
    """Parse a value of the command line such as `[a, b]`; raises `yaml.YAMLError`.

    List items keep their spelling: `[1, no]` is `["1", "no"]`.
    """
    node = yaml.compose(text, Loader=_Loader)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [item.value for item in node.value]
    raise yaml.YAMLError("not a flat list")


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        line = mark.line + 1 if mark else None
        raise InvalidConfig([Problem("", _syntax(error), where, line)]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; delete it"
        raise InvalidConfig([Problem("", message, f"{source}:{line}:{column}", line)]) from None
    except RecursionError:
        raise InvalidConfig([Problem("", "the file is nested too deeply to be a configuration", source)]) from None
    return node


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it does not parse"
    if r"'\t'" in problem:
        return "not valid YAML: a tab where only spaces are allowed; indent with spaces"
    if "mapping values are not allowed" in problem:
        return (
            "not valid YAML: a second colon on the line, or the line is indented wrongly; text with `: ` needs quotes"
        )
    if "expected a single document" in (error.context or ""):
        return "the file holds more than one YAML document; keep one and delete the `---` after it"
    if "undefined alias" in problem or "while scanning an a" in (error.context or ""):
        return "not valid YAML: text that starts with * or & needs quotes, such as '*.txt'"
    if "expected <block end>" in problem:
        return "not valid YAML: the line is not aligned with the lines above; check its indentation and quotes"
    if "while scanning a quoted scalar" in (error.context or "") or "stream end" in problem:
        return "not valid YAML: a quote or bracket is not closed"
    return f"not valid YAML: {problem}; check quotes, brackets and indentation"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _at(source: str, node: yaml.Node) -> str:
    return f"{source}:{_line(node)}"


@dataclass
class _Builder:
    """Turns nodes into values, remembering lines and problems."""

    source: str
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > 50:
            raise InvalidConfig(
                [
                    Problem(
                        "",
                        f"the file expands to more than {MAX_VALUES} values or 50 levels; use fewer aliases",
                        self.source,
                    )
                ]
            )
        if node.tag != _UNTAGGED:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(path, f"the tag {tag} is not allowed; write a plain value", node)
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return scalar(node.value) if node.style is None else node.value

    def _item(self, node: yaml.Node, path: Path) -> Any:
        self.lines[path] = _line(node)
        return self.build(node, path)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(
                    path, "a key must be a scalar, got a list or a mapping; text with braces needs quotes", key
                )
                continue
            name = str(key.value)
            here = (*path, name)
            if name == "<<" and key.style is None:
                self._problem(path, "merge keys (<<) are not supported; repeat the keys or use `variables:`", key)
                continue
            if name in seen:
                self._problem(here, f"the key is written twice, first on line {seen[name]}; keep one", key)
                continue
            seen[name] = self.lines[here] = _line(key)
            yield name, self.build(value, here)

    def _problem(self, path: Path, message: str, node: yaml.Node) -> None:
        self.problems.append(Problem(dotted(path), message, _at(self.source, node), _line(node)))


def dotted(path: Path) -> str:
    """`("data", "files", 2)` as `data.files[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text
