"""`chomp note`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chomp.cli.notes import checked_change
from chomp.cli.options import PATH, TEXT
from chomp.record.formatting import one_line
from chomp.record.notes import Notes, change_notes, require_readable
from chomp.record.rundir import open_run


@click.command("note")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--name", type=TEXT, help="A name; an empty text removes it.")
@click.option("--note", type=TEXT, help="A note; an empty text removes it.")
@click.option("--tag", "tags", multiple=True, type=TEXT, metavar="TAG", help="Add a tag; may be repeated.")
@click.option("--untag", "untags", multiple=True, type=TEXT, metavar="TAG", help="Remove a tag; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(
    runs: tuple[Path, ...],
    name: str | None,
    note: str | None,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show or change the name, note and tags of each RUN; they are in its notes.yaml."""
    change = checked_change(name, note, tags, untags)
    opened = [open_run(path) for path in runs]
    # All before the first is changed.
    notes = [require_readable(run) for run in opened]
    found = [(run.path, change_notes(run, change) if change else old) for run, old in zip(opened, notes, strict=True)]
    if as_json:
        click.echo(json.dumps([{"path": str(path), **_as_json(one)} for path, one in found], indent=1))
        return
    for path, one in found:
        click.echo(_lines(path, one))


def _as_json(notes: Notes) -> dict[str, Any]:
    return {"name": notes.name, "note": notes.note, "tags": notes.tags}


def _lines(path: Path, notes: Notes) -> str:
    parts = [one_line(str(path)), *([notes.name] if notes.name else []), *(f"#{tag}" for tag in notes.tags)]
    return "\n".join(["  ".join(parts), *(f"  {line}" for line in notes.note.splitlines())])
