"""Reads the YAML of `notes.yaml`, and says where and why it cannot be read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from chomp.record.formatting import one_line

KEYS = ("name", "note", "tags")
# A longer file was not written by chomp.
MOST_BYTES = 1 << 16
_LINE = re.compile(r"(?P<key>name|note|tags):\s+(?P<text>\S.*?)\s*\Z")
# libyaml's reader, many times as fast, where PyYAML has it. Every scalar is a text, also `name: 12` or `tags: [3e-4]`.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True)
class Found:
    """What the file has, as written.

    Attributes:
        tags: each with its line, counted from 1.
        problem: why not all of it can be kept, in one sentence with the line; empty for a good file.
    """

    name: str = ""
    note: str = ""
    tags: tuple[tuple[str, int], ...] = ()
    problem: str = ""


def parse_notes(content: bytes) -> Found:
    """The notes in the bytes of a file."""
    if len(content) > MOST_BYTES:
        return Found(problem=f"it has more than {MOST_BYTES:,} bytes, the most for notes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return Found(problem=f"line {content[: error.start].count(10) + 1} is not UTF-8; save the file as UTF-8")
    try:
        tree = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Found(problem=_broken(text, error))
    if tree is None:
        return Found()
    if not isinstance(tree, yaml.MappingNode):
        return Found(problem="line 1 has none of name:, note: and tags:; write such as note: my text")
    return _read(tree)


def _read(tree: yaml.MappingNode) -> Found:
    """The entries of a file that is YAML; the first that cannot be kept is the problem."""
    texts: dict[str, str] = {}
    tags: tuple[tuple[str, int], ...] = ()
    problems: list[str] = []
    seen: set[str] = set()
    for key_node, node in tree.value:
        line, key = key_node.start_mark.line + 1, str(key_node.value)
        if key not in KEYS or key in seen:
            why = "is there twice; keep one" if key in seen else "is none of name, note and tags; put it into the note"
            problems.append(f"line {line}: {one_line(key)[:60]!r} {why}")
            continue
        seen.add(key)
        if key == "tags":
            listed = isinstance(node, yaml.SequenceNode) and all(isinstance(one, yaml.ScalarNode) for one in node.value)
            if isinstance(node, yaml.SequenceNode):
                plain = [one for one in node.value if isinstance(one, yaml.ScalarNode)]
                tags = tuple((one.value, one.start_mark.line + 1) for one in plain)
            if not listed and node.value:
                problems.append(f"line {line}: tags is no list of words; write such as tags: [base, old]")
        elif isinstance(node, yaml.ScalarNode):
            texts[key] = node.value
        else:
            problems.append(f'line {line}: {key} is no text; put it in quotes, such as {key}: "my text"')
    return Found(texts.get("name", ""), texts.get("note", ""), tags, problems[0] if problems else "")


def _broken(text: str, error: Exception) -> str:
    """Where a text is no YAML and what to write instead.

    The parser tells where it gave up, which may be below the line that is wrong: lines are tried one by one.
    """
    mark: Any = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        bad = next((at for at, char in enumerate(text) if not char.isprintable() and char not in "\n\r\t"), 0)
        return f"line {text.count(chr(10), 0, bad) + 1} has a control character; remove it"
    lines = text.splitlines()
    place = min(mark.line, max(len(lines) - 1, 0)) if mark is not None else None
    for number in [*([place] if place is not None else []), *range(len(lines))]:
        found = _LINE.match(lines[number]) if lines else None
        if found is not None and not _is_yaml(lines[number]):
            return f"line {number + 1} {_remedy(found['key'], found['text'])}"
    where = f"line {place + 1}" if place is not None else "it"
    why = getattr(error, "problem", None) or "it is nested too deeply"
    return f'{where} is not YAML ({one_line(str(why))}); put texts in quotes, such as note: "my text"'


def _is_yaml(line: str) -> bool:
    try:
        yaml.compose(line, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return True


def _remedy(key: str, text: str) -> str:
    if key == "tags":
        return "is no list; write such as tags: [base, old]"
    shown = one_line(text)
    if shown[0] in "'\"":
        return f'has quotes that do not match; write such as {key}: "my text"'
    quoted = json.dumps(shown if len(shown) <= 60 else f"{shown[:59]}…", ensure_ascii=False)
    return f"needs quotes around the text; write {key}: {quoted}"
