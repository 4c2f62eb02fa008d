"""What a user says about a run: `notes.yaml` in its directory, with a name, a note and tags.

People may edit the file by hand; programs replace it as a whole, so that a reader never sees half of it. A file with
anything that would be lost by that is never replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from chomp.errors import ConfigError, RunDirError
from chomp.record.formatting import one_line, sanitize
from chomp.record.rundir import RunDir, write_whole

LONGEST_NAME = 100
LONGEST_NOTE = 4000
MOST_TAGS = 20
# No spaces or commas, which separate tags, and nothing that an expression such as `tag=base` uses.
TAG = re.compile(r"[\w.+/@:-]{1,40}\Z")


@dataclass(frozen=True)
class Notes:
    """A run's name, note and tags, free of control characters.

    Attributes:
        name: shown beside the directory's name.
        problem: why the file cannot be read as a whole, with the line and what to do; empty for a good file.
    """

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    problem: str = ""


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
    """The notes of a run; empty where there are none. What a damaged file has in their place is in `problem`."""
    from chomp.record.notes_file import MOST_BYTES, parse_notes

    try:
        with run.notes.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return Notes()
    except OSError as error:
        return Notes(problem=f"{error.strerror}")
    found = parse_notes(content)
    name, note = one_line(found.name).strip(), sanitize(found.note).strip()
    tags = tuple(dict.fromkeys(tag for tag, _ in found.tags if TAG.match(tag)))
    problem = found.problem
    if not problem:
        bad = next(((tag, line) for tag, line in found.tags if not TAG.match(tag)), None)
        if bad is not None:
            problem = f"line {bad[1]}: {one_line(bad[0])[:60]!r} is no tag, which has letters, digits and . _ + / @ : -"
        elif len(name) > LONGEST_NAME:
            problem = f"the name has {len(name):,} characters; shorten it to {LONGEST_NAME}"
        elif len(note) > LONGEST_NOTE:
            problem = f"the note has {len(note):,} characters; shorten it to {LONGEST_NOTE:,}"
        elif len(tags) > MOST_TAGS:
            problem = f"it has {len(tags)} tags; remove some, at most {MOST_TAGS} are allowed"
    return Notes(name[:LONGEST_NAME], note[:LONGEST_NOTE], tags[:MOST_TAGS], problem)


def require_readable(run: RunDir) -> Notes:
    """The notes of a run that are about to be changed.

    Raises:
        RunDirError: the file cannot be read, so that a change would lose what it has.
    """
    notes = read_notes(run)
    if notes.problem:
        raise RunDirError(unreadable(run, notes))
    return notes


def unreadable(run: RunDir, notes: Notes) -> str:
    """One sentence on a file that cannot be read."""
    return f"{one_line(str(run.notes))} cannot be read and was not changed: {notes.problem}"


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
        RunDirError: the file cannot be read, or not be written.
    """
    if not change:
        return read_notes(run)
    before = require_readable(run)
    after = change.of(before)
    if after != before:
        write_notes(run, after)
    return after
