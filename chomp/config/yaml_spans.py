"""The places of all keys and values of a YAML text, in characters.

Made from the parser's own marks, so that a value can be replaced without writing the rest
of the file again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import yaml

Kind = Literal["scalar", "block list", "flow list", "block map", "flow map", "alias"]

_ANCHOR = re.compile(r"&[^\s,\[\]{}]+[ \t]*")
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\[\]{}]+)")
_TAIL = re.compile(r"(?:\s|^[ \t]*#[^\r\n]*)+\Z", re.MULTILINE)

# As the engine: a file of more values is no configuration, and aliases can multiply a short one into gigabytes.
MAX_LEAVES = 20_000
_COLON = re.compile(r"[ \t]*:")


class Unreadable(ValueError):
    """The text is not YAML, or not a mapping."""


@dataclass(frozen=True)
class Span:
    """Characters from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Item:
    """One value of a list: its place, its text, its quotes (None without)."""

    span: Span
    text: str
    style: str | None


@dataclass(frozen=True)
class Place:
    """One key and its value.

    Attributes:
        path: dotted.
        key: the key's characters.
        colon: the character after the key's colon, where a missing value would begin.
        value: the value's characters without anchor; empty where nothing is written.
        text: a scalar's content as the parser sees it, quotes and folding undone.
        style: a scalar's quote or block sign; None for a plain one.
        column: the key's column.
        inline: whether it is inside `{…}`.
        items: the values of a list of scalars; None for anything else.
    """

    path: str
    kind: Kind
    key: Span
    colon: int
    value: Span
    text: str = ""
    style: str | None = None
    column: int = 0
    inline: bool = False
    items: tuple[Item, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """All places by dotted path, in the order of the file; `root` is how the outermost mapping is written."""

    places: Mapping[str, Place]
    root: Kind | None
    root_span: Span = Span(0, 0)
    leaves: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)

    def children(self, path: str) -> list[Place]:
        """The keys directly inside a mapping; `""` is the outermost."""
        prefix = f"{path}." if path else ""
        return [
            place for name, place in self.places.items() if name.startswith(prefix) and "." not in name[len(prefix) :]
        ]


@functools.lru_cache(maxsize=16)
def read_layout(text: str) -> Layout:
    """Find every key and value.

    Raises:
        Unreadable: the text does not parse, or is no mapping.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Unreadable(str(error)) from None
    if node is None:
        return Layout({}, None)
    if not isinstance(node, yaml.MappingNode):
        raise Unreadable("not a mapping")
    places: dict[str, Place] = {}
    leaves: dict[str, tuple[str | None, str]] = {}
    reader = _Reader(text, places, leaves)
    end = reader.pairs(node, "", inline=bool(node.flow_style))
    kind: Kind = "flow map" if node.flow_style else "block map"
    return Layout(places, kind, Span(node.start_mark.index, end), leaves)


@dataclass
class _Reader:
    """Walks the parser's nodes once."""

    text: str
    places: dict[str, Place]
    leaves: dict[str, tuple[str | None, str]]
    depth: int = 0

    def pairs(self, node: yaml.MappingNode, prefix: str, *, inline: bool) -> int:
        """Record a mapping's keys; returns where its last value ends."""
        if self.depth > 50:
            raise Unreadable("nested too deeply")
        end = node.end_mark.index if node.flow_style else node.start_mark.index
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Unreadable("a key is no word")
            place = self._place(key, value, f"{prefix}{key.value}", inline=inline or bool(node.flow_style))
            # Of a key that is written twice the first counts; validation refuses the file anyway.
            self.places.setdefault(place.path, place)
            if not node.flow_style:
                end = max(end, place.value.end)
        return int(end)

    def _place(self, key: yaml.ScalarNode, value: yaml.Node, path: str, *, inline: bool) -> Place:
        begin, stop = key.start_mark.index, key.end_mark.index
        found = _COLON.match(self.text, stop)
        colon = found.end() if found else stop
        alias = _ALIAS.match(self.text, stop) if value.start_mark.index < begin else None
        if alias is not None:
            self._leaf(value, path)
            span = Span(*alias.span(1))
            return Place(path, "alias", Span(begin, stop), colon, span, alias[1], None, key.start_mark.column, inline)
        span, kind, items = self._value(value, path, inline=inline)
        text = str(value.value) if isinstance(value, yaml.ScalarNode) else ""
        style = value.style if isinstance(value, yaml.ScalarNode) else None
        return Place(path, kind, Span(begin, stop), colon, span, text, style, key.start_mark.column, inline, items)

    def _value(self, node: yaml.Node, path: str, *, inline: bool) -> tuple[Span, Kind, tuple[Item, ...] | None]:
        start = self._after_anchor(node.start_mark.index, node.end_mark.index)
        if isinstance(node, yaml.MappingNode):
            self.depth += 1
            end = self.pairs(node, f"{path}.", inline=inline)
            self.depth -= 1
            return Span(start, end), "flow map" if node.flow_style else "block map", None
        if isinstance(node, yaml.SequenceNode):
            self._leaf(node, path)
            return self._list(node, start)
        assert isinstance(node, yaml.ScalarNode)
        self._leaf(node, path)
        return self._scalar_span(node, start), "scalar", None

    def _list(self, node: yaml.SequenceNode, start: int) -> tuple[Span, Kind, tuple[Item, ...] | None]:
        end, items = node.end_mark.index, None
        # An alias has the marks of its anchor.
        if all(isinstance(item, yaml.ScalarNode) and item.start_mark.index >= start for item in node.value):
            items = tuple(self._item(item) for item in node.value)
        if node.flow_style:
            return Span(start, end), "flow list", items
        # The list's own mark lies behind the blank lines and comments that follow it.
        end = items[-1].span.end if items else start + len(_TAIL.sub("", self.text[start:end]))
        return Span(start, end), "block list", items

    def _item(self, node: yaml.ScalarNode) -> Item:
        start = self._after_anchor(node.start_mark.index, node.end_mark.index)
        return Item(self._scalar_span(node, start), str(node.value), node.style)

    def _scalar_span(self, node: yaml.ScalarNode, start: int) -> Span:
        source = self.text[start : node.end_mark.index]
        # A block scalar's mark lies behind the blank lines that follow it.
        return Span(start, start + len(source.rstrip() if node.style in ("|", ">") else source))

    def _after_anchor(self, start: int, end: int) -> int:
        found = _ANCHOR.match(self.text, start, end)
        return found.end() if found else start

    def _leaf(self, node: yaml.Node, path: str) -> None:
        for name, leaf in _flat(node, path):
            self.leaves[name] = leaf
            if len(self.leaves) > MAX_LEAVES:
                raise Unreadable("too many values")


def _flat(node: yaml.Node, path: str, depth: int = 0) -> Iterator[tuple[str, tuple[str | None, str]]]:
    """The scalars of a node by path; quoted or not matters to what they mean."""
    if isinstance(node, yaml.ScalarNode):
        yield path, (None if node.style is None else "quoted", str(node.value))
    elif depth > 20:
        raise Unreadable("nested too deeply")
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _flat(item, f"{path}[{index}]", depth + 1)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _flat(value, f"{path}.{getattr(key, 'value', '?')}", depth + 1)
