"""The options that give a run its name, note and tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from chomp.cli.options import TEXT
from chomp.record.notes import Notes, NotesChange

Command = Callable[..., Any]


def notes_options(command: Command) -> Command:
    """Add `--name`, `--note` and `--tag` to a command that starts a run."""
    command = click.option("--tag", "tags", multiple=True, type=TEXT, metavar="TAG", help="A tag; may be repeated.")(
        command
    )
    command = click.option("--note", type=TEXT, help="A note on the run.")(command)
    return click.option("--name", type=TEXT, help="A name that is shown beside that of the run directory.")(command)


def checked_change(
    name: str | None, note: str | None, tags: tuple[str, ...], untags: tuple[str, ...] = ()
) -> NotesChange:
    """The change that the options amount to.

    Raises:
        ConfigError: a text is too long, or a tag is not allowed.
    """
    change = NotesChange(name, note, tags, untags)
    change.of(Notes())
    return change
