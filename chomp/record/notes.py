"""What a user says about a run: `notes.yaml` in its directory, with a name, a note and tags.

People may edit the file by hand; programs replace it as a whole, so that a reader never sees half of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chomp.errors import ConfigError, RunDirError
from chomp.record.formatting import one_line, sanitize
from chomp.record.rundir import RunDir, write_whole

LONGEST_NAME = 100
LONGEST_NOTE = 4000
MOST_TAGS = 20
# A longer file was not written by chomp, and is not read.
MOST_BYTES = 1 << 16
# No spaces or commas, which separate tags, and nothing that an expression such as `tag=base` uses.
TAG = re.compile(r"[\w.+/@:-]{1,40}\Z")


@dataclass(frozen=True)
class Notes:
    """A run's name, note and tags, free of control characters; `name` is shown beside the directory's name."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotesChange:
    """What a user changes: None keeps the name or the note, an empty text removes it."""

    name: str | None = None
    note: str | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return self != NotesChange()

    def of(self, notes: Notes) -> Notes:
        """The notes after the change.

        Raises:
            ConfigError: a text is too long, or a tag has a character that no tag may have.
        """
        kept = [tag for tag in notes.tags if tag not in self.remove_tags]
        return Notes(
            notes.name if self.name is None else checked_name(self.name),
            notes.note if self.note is None else _checked_note(self.note),
            checked_tags([*kept, *self.add_tags]),
        )


def checked_name(text: str) -> str:
    """A name on one line.

    Raises:
        ConfigError: it is too long.
    """
    name = one_line(text).strip()
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"the name has {len(name):,} characters; at most {LONGEST_NAME} are allowed")
    return name


def _checked_note(text: str) -> str:
    note = sanitize(text).strip()
    if len(note) > LONGEST_NOTE:
        raise ConfigError(f"the note has {len(note):,} characters; at most {LONGEST_NOTE:,} are allowed")
    return note


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without repetitions, in their order.

    Raises:
        ConfigError: one is no tag, or there are too many.
    """
    found = tuple(dict.fromkeys(tags))
    for tag in found:
        if not TAG.match(tag):
            raise ConfigError(
                f"the tag {one_line(tag)[:60]!r} is not allowed: a tag has 1 to 40 letters, digits and . _ + / @ : -"
            )
    if len(found) > MOST_TAGS:
        raise ConfigError(f"{len(found)} tags are too many; at most {MOST_TAGS} are allowed")
    return found


def read_notes(run: RunDir) -> Notes:
    """The notes of a run; empty where there are none, and without what a damaged file has in their place."""
    import yaml

    try:
        with run.notes.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        return Notes()
    if len(content) > MOST_BYTES:
        return Notes()
    try:
        # Every scalar is a text, also `name: 12` or `tags: [3e-4]`.
        table = yaml.load(content.decode("utf-8", "replace"), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return Notes()
    if not isinstance(table, dict):
        return Notes()
    tags = table.get("tags")
    named = [tag for tag in tags if isinstance(tag, str) and TAG.match(tag)] if isinstance(tags, list) else []
    return Notes(
        one_line(_text(table.get("name"))).strip()[:LONGEST_NAME],
        sanitize(_text(table.get("note"))).strip()[:LONGEST_NOTE],
        tuple(dict.fromkeys(named))[:MOST_TAGS],
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def write_notes(run: RunDir, notes: Notes) -> None:
    """Replace the notes of a run.

    Raises:
        RunDirError: the file cannot be written.
    """
    import yaml

    table = {"name": notes.name, "note": notes.note, "tags": list(notes.tags)}
    text = yaml.safe_dump(table, allow_unicode=True, sort_keys=False)
    try:
        write_whole(run.notes, text.encode())
    except OSError as error:
        raise RunDirError(f"{run.notes} cannot be written: {error.strerror}") from error


def change_notes(run: RunDir, change: NotesChange) -> Notes:
    """Change the notes of a run; a change that changes nothing writes nothing.

    Raises:
        ConfigError: what is written would not be allowed.
        RunDirError: the file cannot be written.
    """
    before = read_notes(run)
    after = change.of(before)
    if after != before:
        write_notes(run, after)
    return after
