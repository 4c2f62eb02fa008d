"""Changing one value of a YAML text by changing only that value's characters.

Each function returns the whole new text. What it did is read back before it is returned: if
anything but the value meant has changed, the edit is refused and the text stays as it was.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from chomp.config.scalars import Items, Wanted, Words, written
from chomp.config.spec import table_at
from chomp.config.yaml_spans import Item, Layout, Place, Unreadable, read_layout
from chomp.errors import ChompError

_LINE_END = re.compile(r"\r\n|\n|\r")
_COMMENT_LINE = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))*([ \t]*)#[^\r\n]*(?:\r\n|\n|\r|\Z)")
_ONLY_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\Z))*\Z")
_BLANK_LINE = re.compile(r"(?:\r\n|\n|\r)[ \t]*(?:\r\n|\n|\r)")


class CannotEdit(ChompError):
    """The value cannot be changed in place; the sentence says why, and what to do."""


def set_value(text: str, path: str, wanted: Wanted) -> str:
    """Write one value, as an addition where the key is missing.

    Raises:
        CannotEdit: the text does not parse, or the value cannot be changed alone.
    """
    layout = _layout(text)
    place = layout.places.get(path)
    if place is not None:
        return _proven(_replaced(text, place, wanted), layout, path)
    for candidate in _insertions(text, layout, path, wanted):
        try:
            return _proven(candidate, layout, path)
        except CannotEdit:
            continue
    raise _refusal(path)


def reset_value(text: str, path: str) -> str:
    """Take a key out, and the section around it if nothing else is in it; unchanged where it is not written.

    An entry of a table is taken out only if it is the path.

    Raises:
        CannotEdit: the text does not parse, or the key cannot be taken out alone.
    """
    layout = _layout(text)
    place = layout.places.get(path)
    if place is None:
        return text
    while True:
        outer = path.rpartition(".")[0]
        around = outer.rpartition(".")[0]
        if not outer or len(layout.children(outer)) > 1 or len(layout.children(around)) < 2:
            break
        if table_at(around) is not None:
            # An entry of a table stays: without settings it is one with all defaults.
            break
        header = layout.places[outer]
        if header.kind not in ("block map", "flow map") or "#" in text[header.key.end : place.key.start]:
            break
        path, place = outer, header
    return _proven(_without(text, layout, place), layout, path, gone=True)


def _layout(text: str) -> Layout:
    try:
        return read_layout(text)
    except Unreadable:
        raise CannotEdit("the YAML does not parse; mend it first") from None


def _refusal(path: str) -> CannotEdit:
    return CannotEdit(f"{path} cannot be changed here without touching other lines; change it in the YAML")


def _proven(after: str, layout: Layout, path: str, *, gone: bool = False) -> str:
    """`after`, if it differs from what `layout` was read from in nothing but `path`."""
    try:
        new = read_layout(after)
    except Unreadable:
        raise _refusal(path) from None
    if gone == (path in new.places) or _others(layout, path) != _others(new, path):
        raise _refusal(path)
    return after


def _others(layout: Layout, path: str) -> dict[str, tuple[str | None, str]]:
    """All scalars but those at `path`, below it, and the empty sections around it."""
    return {
        name: leaf
        for name, leaf in layout.leaves.items()
        if not (name == path or name.startswith((f"{path}.", f"{path}[")) or path.startswith(f"{name}."))
    }


# Replacing -----------------------------------------------------------------------------


def _replaced(text: str, place: Place, wanted: Wanted) -> str:
    if isinstance(wanted, Items) and place.items:
        same = _item_by_item(text, place, wanted.texts)
        if same is not None:
            return same
    new = written(wanted, inline=place.inline, style=place.style)
    if place.kind in ("block list", "block map"):
        # What begins below its key moves up beside it, before a comment there.
        head = _line_stop(text, place.colon)
        return f"{text[: place.colon]} {new}{text[place.colon : head]}{text[place.value.end :]}"
    start, end = place.value.start, place.value.end
    if start == end:
        gap = ": " if place.colon == place.key.end else "" if text[start - 1 : start].isspace() else " "
        return f"{text[:start]}{gap}{new}{text[end:]}"
    return text[:start] + new + text[end:]


def _item_by_item(text: str, place: Place, wanted: tuple[str, ...]) -> str | None:
    """Change, add and take out single items; None where the whole list is better written anew."""
    assert place.items is not None
    items = place.items
    first = _common(items, wanted)
    last = min(_common(items[::-1], wanted[::-1]), min(len(items), len(wanted)) - first)
    old, new = items[first : len(items) - last], wanted[first : len(wanted) - last]
    if len(old) != len(new) and (place.kind != "block list" or not wanted):
        return None
    is_block = place.kind == "block list"
    changed = text
    shared = min(len(old), len(new))
    after = items[first + shared - 1] if first + shared else None
    # From the end to the start, so that earlier positions stay true.
    for item in reversed(old[shared:]):
        start, end = _whole_lines(changed, item.span.start, item.span.end)
        changed = changed[:start] + changed[end:]
    if new[shared:]:
        changed = _with_items(changed, place, after, new[shared:])
    for item, words in reversed(list(zip(old, new, strict=False))):
        one = written(Words(words), inline=not is_block, style=item.style)
        changed = changed[: item.span.start] + one + changed[item.span.end :]
    return changed


def _with_items(text: str, place: Place, after: Item | None, words: tuple[str, ...]) -> str:
    assert place.items
    begin = _line_start(text, place.items[0].span.start)
    indent = re.match(r"[ \t]*", text[begin:])
    assert indent is not None
    lines = [f"{indent[0]}- {written(Words(one), inline=False)}" for one in words]
    return _with_lines(text, begin if after is None else _next_line(text, after.span.end), lines)


def _common(items: tuple[Item, ...], wanted: tuple[str, ...]) -> int:
    count = 0
    while count < min(len(items), len(wanted)) and items[count].text == wanted[count]:
        count += 1
    return count


# Adding --------------------------------------------------------------------------------


def _insertions(text: str, layout: Layout, path: str, wanted: Wanted) -> Iterator[str]:
    """Ways to add a key, best first."""
    names = path.split(".")
    depth = next((n for n in range(len(names) - 1, 0, -1) if ".".join(names[:n]) in layout.places), 0)
    rest = names[depth:]
    if depth == 0:
        yield from _at_top(text, layout, rest, wanted)
        return
    section = layout.places[".".join(names[:depth])]
    if section.kind == "block map":
        children = layout.children(section.path)
        indent = min(child.column for child in children)
        lines = _lines(layout, rest, wanted, indent)
        yield _with_lines(text, _past_comments(text, _next_line(text, section.value.end), indent), lines)
        # The last value may end in blank lines that belong to it.
        yield _with_lines(text, _line_start(text, children[-1].key.start), lines)
    elif section.kind == "flow map":
        yield _into_flow(text, layout, section.path, section.value.end, rest, wanted)
    elif section.kind == "scalar" and section.value.start == section.value.end and not section.inline:
        lines = _lines(layout, rest, wanted, section.column + _indent_step(layout))
        yield _with_lines(text, _next_line(text, section.colon), lines)
    elif section.kind == "scalar" and section.style is None and section.text in ("", "null", "~"):
        yield _emptied(text, section, rest, wanted)
    elif section.kind == "alias":
        raise CannotEdit(
            f"{section.path} is written as {section.text}, a copy of another section; change it in the YAML"
        )
    else:
        raise CannotEdit(f"{section.path} is no section in the YAML; mend it there")


def _emptied(text: str, section: Place, rest: list[str], wanted: Wanted) -> str:
    """A section written `null` becomes `{key: value}`."""
    gap = "" if section.value.end > section.value.start or text[section.value.start - 1].isspace() else " "
    return f"{text[: section.value.start]}{gap}{{{_inline(rest, wanted)}}}{text[section.value.end :]}"


def _at_top(text: str, layout: Layout, rest: list[str], wanted: Wanted) -> Iterator[str]:
    if layout.root == "flow map":
        yield _into_flow(text, layout, "", layout.root_span.end, rest, wanted)
        return
    tops = layout.children("")
    indent = min((place.column for place in tops), default=0)
    lines = _lines(layout, rest, wanted, indent)
    gaps = [text[one.value.end : two.key.start] for one, two in itertools.pairwise(tops)]
    airy = any(_BLANK_LINE.search(gap) for gap in gaps) or not tops
    end = _next_line(text, layout.root_span.end) if tops else len(text)
    if _ONLY_COMMENTS.match(text, end):
        end = len(text)
    if airy and text[:end].strip() and not _BLANK_LINE.search(text[:end][-4:]):
        lines = ["", *lines]
    yield _with_lines(text, end, lines)


def _lines(layout: Layout, rest: list[str], wanted: Wanted, indent: int) -> list[str]:
    step = _indent_step(layout)
    heads = [f"{' ' * (indent + n * step)}{name}:" for n, name in enumerate(rest)]
    heads[-1] += f" {written(wanted, inline=False)}"
    return heads


def _indent_step(layout: Layout) -> int:
    for place in layout.places.values():
        children = layout.children(place.path) if place.kind == "block map" else []
        if children and children[0].column > place.column:
            return children[0].column - place.column
    return 2


def _into_flow(text: str, layout: Layout, section: str, end: int, rest: list[str], wanted: Wanted) -> str:
    pair = _inline(rest, wanted)
    children = layout.children(section)
    if not children:
        return f"{text[: end - 1]}{pair}{text[end - 1 :]}"
    last = children[-1].value.end
    return f"{text[:last]}, {pair}{text[last:]}"


def _inline(rest: list[str], wanted: Wanted) -> str:
    pair = f"{rest[-1]}: {written(wanted, inline=True)}"
    for name in reversed(rest[:-1]):
        pair = f"{name}: {{{pair}}}"
    return pair


# Taking out ----------------------------------------------------------------------------


def _without(text: str, layout: Layout, place: Place) -> str:
    if not place.inline:
        start, end = _whole_lines(text, place.key.start, max(place.value.end, place.colon))
        return text[:start] + text[end:]
    outer = place.path.rpartition(".")[0]
    pairs = layout.children(outer)
    index = [one.path for one in pairs].index(place.path)
    stop = max(place.value.end, place.colon)
    if index + 1 < len(pairs):
        return text[: place.key.start] + text[pairs[index + 1].key.start :]
    if index:
        before = pairs[index - 1]
        return text[: max(before.value.end, before.colon)] + text[stop:]
    return text[: place.key.start] + text[stop:]


# Lines ---------------------------------------------------------------------------------


def newline(text: str) -> str:
    """The line end that the text uses."""
    found = _LINE_END.search(text)
    return found[0] if found else "\n"


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _line_stop(text: str, at: int) -> int:
    """Where the line ends, before its line end."""
    found = _LINE_END.search(text, at)
    return found.start() if found else len(text)


def _next_line(text: str, at: int) -> int:
    found = _LINE_END.search(text, at)
    return found.end() if found else len(text)


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """The lines from `start` to `end` with one line end; a file without a last one stays without."""
    begin, stop = _line_start(text, start), _next_line(text, end)
    if stop == len(text) and begin and not text.endswith(("\n", "\r")):
        begin -= 2 if text[:begin].endswith("\r\n") else 1
    return begin, stop


def _past_comments(text: str, at: int, indent: int) -> int:
    """Behind the comment lines from `at` on that are indented as the section's keys are."""
    while found := _COMMENT_LINE.match(text, at):
        if len(found[1]) < max(1, indent) or found.end() == at:
            break
        at = found.end()
    return at


def _with_lines(text: str, at: int, lines: list[str]) -> str:
    """Insert whole lines at a line's start, or at the end of a text with or without a last line end."""
    end = newline(text)
    block = end.join(lines)
    if at == len(text) and text and not text.endswith(("\n", "\r")):
        return f"{text}{end}{block}"
    return f"{text[:at]}{block}{end}{text[at:]}"
