"""Entries of tables in a document, such as the sources of a mixture, as sections of the form."""

from __future__ import annotations

from chomp.config import Setting, section_at, sections, setting_at
from chomp.config.spec import children, table_at
from chomp.config.yaml_spans import Layout


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
