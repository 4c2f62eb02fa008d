"""Entries of tables in a document, such as the sources of a mixture: sections of the form, added and removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chomp.config import Setting, edits, section_at, sections, setting_at
from chomp.config.fields import NAME, NAME_RULE
from chomp.config.scalars import Items, Plain, Wanted, Words
from chomp.config.spec import children, table_at
from chomp.config.yaml_spans import Layout, Unreadable, read_layout

SOURCES, STAGES = "data.mixture.sources", "data.mixture.stages"


@dataclass(frozen=True)
class Kind:
    """What the entries of a table are.

    Attributes:
        noun: an entry in words.
        needs: what a new one is written with. The last is the setting that the user has to choose.
    """

    noun: str
    needs: tuple[tuple[str, Wanted], ...]


KINDS: Mapping[str, Kind] = {
    "evaluation.sets": Kind("evaluation set", (("files", Items(())),)),
    "evaluation.tasks": Kind("evaluation task", (("path", Plain("null")),)),
    SOURCES: Kind("source of the mixture", (("backend", Words("files")), ("files", Items(())))),
    STAGES: Kind("stage of the mixture", (("from_tokens", Plain("0")),)),
}
"""The tables whose entries have settings, by dotted path."""


def entries_of(layout: Layout | None) -> dict[str, tuple[Setting, ...]]:
    """The sections that a document names in tables, with their settings; a table of numbers is one section."""
    found = dict[str, tuple[Setting, ...]]()
    places = sorted(layout.places.values(), key=lambda place: place.key.start) if layout else []
    for path in (place.path for place in places):
        table = table_at(path)
        if path not in sections() and section_at(path) is not None:
            paths = [f"{path}.{name}" for name in children(path)]
        elif layout and table is not None and table.entry is None:
            paths = [place.path for place in layout.children(path)]
        else:
            continue
        found[path] = tuple(setting for one in paths if (setting := setting_at(one)) is not None)
    return found


def section_around(entry: str) -> str:
    """The section of the form in which the table of an entry is."""
    while entry not in sections():
        entry = entry.rpartition(".")[0]
    return entry


def addable(layout: Layout | None) -> list[str]:
    """The tables that may get an entry: stages are of sources that there are."""
    has_sources = layout is not None and bool(layout.children(SOURCES))
    return [table for table in KINDS if table != STAGES or has_sources]


def removable(layout: Layout | None) -> list[str]:
    """The entries that can be removed, in the order of the document."""
    return [path for path in entries_of(layout) if path.rpartition(".")[0] in KINDS]


def table_of(section: str) -> str:
    """The table to which a section of the form belongs, or the first one in it; empty if none does."""
    return next((table for table in KINDS if f"{section}.".startswith(f"{table}.") or _contains(section, table)), "")


def _contains(section: str, table: str) -> bool:
    return bool(section) and section_at(section) is not None and table.startswith(f"{section}.")


def hint_on(section: str) -> str:
    """What the keys for entries do in a section of the form; empty where there are no entries."""
    table = table_of(section)
    if not table:
        return ""
    what = "a source or a stage of a mixture" if table in (SOURCES, STAGES) else "a set or a task"
    return f" n adds {what}, d removes one."


def wrong_name(layout: Layout | None, table: str, name: str) -> str | None:
    """Why an entry cannot have this name, in a sentence."""
    if not re.match(NAME, name):
        return f"a name has {NAME_RULE}"
    rivals = [one for one in KINDS if one == table or {one, table} == {"evaluation.sets", "evaluation.tasks"}]
    taken = next((f"{one}.{name}" for one in rivals if layout and f"{one}.{name}" in layout.places), None)
    return f"there is {taken} already; choose another name" if taken else None


def with_entry(text: str, table: str, name: str) -> tuple[str, str]:
    """The text with a new entry, and the path of the setting that is to be chosen first.

    A stage has a weight for each source, as the engine requires; so a new source gets one in each stage, and a new
    stage one for each source.

    Raises:
        CannotEdit: the text does not parse, or the table cannot be changed without touching other lines.
    """
    path = f"{table}.{name}"
    for key, wanted in KINDS[table].needs:
        text = edits.set_value(text, f"{path}.{key}", wanted)
    sources, stages = ([name] if table == one else _names(text, one) for one in (SOURCES, STAGES))
    if table in (SOURCES, STAGES):
        for stage in stages:
            for source in sources:
                text = edits.set_value(text, f"{STAGES}.{stage}.weights.{source}", Plain(_weight(text, source)))
    return text, f"{path}.{KINDS[table].needs[-1][0]}"


def without_entry(text: str, entry: str) -> str:
    """The text without an entry, and without sections in which nothing is left; a source also leaves the stages.

    Raises:
        CannotEdit: the text does not parse, or the entry cannot be taken out alone.
    """
    table, _, name = entry.rpartition(".")
    gone = [entry]
    if table == SOURCES:
        gone += [f"{STAGES}.{stage}.weights.{name}" for stage in _names(text, STAGES)]
    for path in gone:
        text = edits.reset_value(text, path)
    while table and (layout := read_layout(text)) and table in layout.places and not layout.children(table):
        text, table = edits.reset_value(text, table), table.rpartition(".")[0]
    return text


def _weight(text: str, source: str) -> str:
    """What a source's weight is written as."""
    place = read_layout(text).places.get(f"{SOURCES}.{source}.weight")
    return place.text if place is not None and place.kind == "scalar" and place.text else "1.0"


def _names(text: str, table: str) -> list[str]:
    """The names of the entries of a table."""
    try:
        layout = read_layout(text)
    except Unreadable:
        return []
    return [place.path.rpartition(".")[2] for place in layout.children(table)]
