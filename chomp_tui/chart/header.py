"""The line above a chart: title, unit and the series with their values, as much of it as fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chomp_tui.chart.roles import Role

Spans = list[tuple[str, Role]]
_GAP = "   "
# With more series than these, colours alone do not identify them.
MOST_UNNAMED = 3
# The same at a crosshair, where values are worth more than names: as many as there are signs.
MOST_UNNAMED_AT_CROSS = 8
# Cells of the shortest series with its gap.
_LEAST_ENTRY = 6


@dataclass(frozen=True)
class Entry:
    """One series in the header.

    Attributes:
        full: its value and more, where there is room; empty for no more.
        rank: of many, those of less rank are named first.
    """

    glyph: str
    name: str
    value: str
    role: Role
    full: str = ""
    rank: int = 0


def header(
    width: int,
    title: str,
    unit: str,
    place: str,
    entries: Sequence[Entry],
    *,
    rows: int = 1,
    taken: int = 0,
    counts: bool = False,
) -> list[Spans]:
    """The fullest version that fits: names go first, then the first series; a crosshair's place outlives the title.

    Of more than three series the values go first, unless they are those at a crosshair. Where there are more rows, the
    series go on in them before any is left out.

    Args:
        place: the crosshair's x value; empty without one.
        rows: the most lines; fewer are made if fewer are needed.
        taken: cells at the right end of the first line that are not free.
        counts: whether of many series the first ones are named and the others counted, in place of the last without
            names.
    """
    bare = [replace(entry, value="") for entry in entries]
    versions = [(entries, True)]
    if rows > 1 or len(entries) > MOST_UNNAMED:
        versions += [(entries, False), (bare, True)] if place else [(bare, True), (entries, False)]
    if any(entry.full for entry in entries):
        # A longer heading takes no line of the curves.
        least = len(_wrapped(width, taken, _groups(title, unit, place, entries, named=True)))
        full = [replace(entry, value=entry.full or entry.value) for entry in entries]
        lines = _wrapped(width, taken, _groups(title, unit, place, full, named=True))
        if lines and len(lines) <= min(least, rows):
            return lines
    for some, named in versions:
        lines = _wrapped(width, taken, _groups(title, unit, place, some, named))
        if lines and len(lines) <= rows:
            return lines
    if counts and len(entries) > (MOST_UNNAMED_AT_CROSS if place else MOST_UNNAMED):
        first = sorted(entries if place else bare, key=lambda entry: entry.rank)
        for count in range(min(len(entries) - 1, rows * width // _LEAST_ENTRY), 0, -1):
            some = [*first[:count], Entry("", f"+{len(entries) - count} more", "", Role.MUTED)]
            lines = _wrapped(width, taken, _groups(title, unit, place, some, named=True))
            if lines and len(lines) <= rows:
                return lines
    for titled, named, count in _versions(len(entries), bool(place)):
        shown = entries[len(entries) - count :]
        spans = _joined(_groups(title if titled else "", unit if titled else "", place, shown, named))
        if _width(spans) > width - taken and len(entries) == 1 and titled and not named:
            # Other charts show the place, too.
            spans = _joined(_groups(title, unit, "", entries, named=False))
        elif place and entries and not count:
            spans = _joined(_groups("", "", "", entries[-1:], named=False))
        if _width(spans) <= width - taken:
            return [spans]
    return [[(place, Role.CROSS) if place else (title, Role.TITLE)]]


def _wrapped(width: int, taken: int, groups: Sequence[Spans]) -> list[Spans]:
    """Groups in as many lines as they need; none if one of them is wider than a line."""
    lines: list[list[Spans]] = [[]]
    for group in groups:
        if lines[-1] and _width(_joined([*lines[-1], group])) > width - (taken if len(lines) == 1 else 0):
            lines.append([])
        lines[-1].append(group)
    made = [_joined(line) for line in lines]
    fits = all(_width(line) <= width - (taken if number == 0 else 0) for number, line in enumerate(made))
    return made if fits else []


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


def _groups(title: str, unit: str, place: str, entries: Sequence[Entry], named: bool) -> list[Spans]:
    """What stays together: the heading, the crosshair's place, each series."""
    groups: list[Spans] = []
    if title or unit:
        heading: Spans = [(title, Role.TITLE)] if title else []
        groups.append([*heading, (f" {unit}" if title and unit else unit, Role.MUTED)])
    if place:
        groups.append([(place, Role.CROSS)])
    for entry in entries:
        space = " " if entry.value else ""
        name: Spans = [(f"{entry.name}{space}", Role.MUTED)] if named and entry.name else []
        mark: Spans = [(f"{entry.glyph} ", entry.role)] if entry.glyph else []
        groups.append([*mark, *name, (entry.value, Role.TEXT)])
    return groups


def _joined(groups: Sequence[Spans]) -> Spans:
    spans: Spans = []
    for group in groups:
        spans += [(_GAP, Role.BLANK), *group] if spans else group
    return [span for span in spans if span[0]]
