"""The line above a chart: title, unit and the series with their values, as much of it as fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chomp_tui.chart.roles import Role

Spans = list[tuple[str, Role]]
_GAP = "   "
# With more series than these, colours alone do not identify them.
MOST_UNNAMED = 3


@dataclass(frozen=True)
class Entry:
    """One series in the header."""

    glyph: str
    name: str
    value: str
    role: Role


def header(width: int, title: str, unit: str, place: str, entries: Sequence[Entry]) -> Spans:
    """The fullest version that fits: names go first, then the first series; a crosshair's place outlives the title.

    Of more than three series the values go first, unless they are those at a crosshair.

    Args:
        place: the crosshair's x value; empty without one.
    """
    if len(entries) > MOST_UNNAMED and not place:
        bare = [replace(entry, value="") for entry in entries]
        full, short = (_spans(title, unit, place, some, named=True) for some in (entries, bare))
        if _width(full) > width >= _width(short):
            return short
    for titled, named, count in _versions(len(entries), bool(place)):
        spans = _spans(title if titled else "", unit if titled else "", place, entries[len(entries) - count :], named)
        if _width(spans) <= width:
            return spans
    return [(place, Role.CROSS) if place else (title, Role.TITLE)]


def _width(spans: Spans) -> int:
    return sum(len(text) for text, _ in spans)


def _versions(count: int, placed: bool) -> Iterator[tuple[bool, bool, int]]:
    """(with title, with names, how many series), from the fullest to the barest."""
    yield True, True, count
    yield True, False, count
    if placed:
        yield False, False, count
    for left in range(count - 1, -1, -1):
        yield not placed, False, left


def _spans(title: str, unit: str, place: str, entries: Sequence[Entry], named: bool) -> Spans:
    groups: list[Spans] = []
    if title or unit:
        heading: Spans = [(title, Role.TITLE)] if title else []
        groups.append([*heading, (f" {unit}" if title and unit else unit, Role.MUTED)])
    if place:
        groups.append([(place, Role.CROSS)])
    for entry in entries:
        space = " " if entry.value else ""
        name: Spans = [(f"{entry.name}{space}", Role.MUTED)] if named and entry.name else []
        groups.append([(f"{entry.glyph} ", entry.role), *name, (entry.value, Role.TEXT)])
    spans: Spans = []
    for group in groups:
        spans += [(_GAP, Role.BLANK), *group] if spans else group
    return [span for span in spans if span[0]]
