"""Adding an entry to a table of the configuration, and removing one."""

from __future__ import annotations

from chomp.config.edits import CannotEdit
from chomp_tui.config.entries import (
    KINDS,
    addable,
    removable,
    section_around,
    table_of,
    with_entry,
    without_entry,
    wrong_name,
)
from chomp_tui.screens.configure.editing import EditingScreen
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.picker import Option, Picker
from chomp_tui.widgets.dialogs import Ask


async def add_entry(screen: EditingScreen) -> str | None:
    """Ask of which kind and under which name, and add it as one edit; the setting that is to be chosen first."""
    document, near = screen.document, table_of(screen.query_one(ConfigForm).section)
    options = [Option(table, KINDS[table].noun, table) for table in addable(document.layout())]
    table = await screen.app.push_screen_wait(Picker("Add what?", options, near))
    if table is None:
        return None
    name = await screen.app.push_screen_wait(
        Ask(
            f"Name of the {KINDS[table].noun}",
            text=f"It is written as {table}.NAME.",
            check=lambda name: wrong_name(document.layout(), table, name.strip()),
        )
    )
    if name is None:
        return None
    try:
        text, path = with_entry(document.text, table, name.strip())
    except CannotEdit as error:
        screen.chomp.notify(str(error), severity="warning")
        return None
    document.replace(text)
    screen.document_changed()
    return path


async def remove_entry(screen: EditingScreen) -> None:
    """Ask which, and remove it as one edit."""
    document, form = screen.document, screen.query_one(ConfigForm)
    entries = removable(document.layout())
    if not entries:
        screen.chomp.notify("there is no entry to remove: no evaluation set or task, no source or stage of a mixture")
        return
    here = next((one for one in entries if f"{form.section}.".startswith(f"{one}.")), "")
    options = [Option(one, one.rpartition(".")[2], one.rpartition(".")[0]) for one in entries]
    entry = await screen.app.push_screen_wait(Picker("Remove which entry?", options, here))
    if entry is None:
        return
    try:
        document.replace(without_entry(document.text, entry))
    except CannotEdit as error:
        screen.chomp.notify(str(error), severity="warning")
        return
    screen.document_changed()
    form.focus_sections(section_around(entry))
    screen.chomp.notify(f"{entry} is removed; Ctrl+Z brings it back")
