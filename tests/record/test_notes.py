"""A run's name, note and tags: kept as a whole, changed one by one, harmless whatever the file has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chomp.cli.note import command
from chomp.errors import ConfigError
from chomp.record.fork import fork_run
from chomp.record.notes import LONGEST_NOTE, Notes, NotesChange, change_notes, read_notes, write_notes
from chomp.record.rundir import RunDir
from tests.fakeruns import make_checkpoint, make_run

HOSTILE = "a\x1b]0;owned\x07\u202e[b]{}: &x *x !!python/object #"


@pytest.mark.parametrize(
    "notes",
    [
        Notes(),
        Notes("base", "first line\nsecond: line", ("a/b", "lr-3e-4", "größe", "x:y@z")),
        Notes("12", "null", ("3e-4", "true")),
        Notes("- [x", "'\"\t#", ("--",)),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, notes: Notes) -> None:
    write_notes(RunDir(tmp_path), notes)
    assert read_notes(RunDir(tmp_path)) == notes


def test_a_change_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    change_notes(run, NotesChange(name="base", note="why", add_tags=("a", "b")))
    change_notes(run, NotesChange(note="", add_tags=("c", "a"), remove_tags=("b",)))
    assert read_notes(run) == Notes("base", "", ("a", "c"))
    before = run.notes.stat().st_ino
    change_notes(run, NotesChange(name="base", remove_tags=("none",)))
    assert run.notes.stat().st_ino == before, "a change that changes nothing has written the file"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (NotesChange(add_tags=("a b",)), "'a b' is not allowed: a tag has 1 to 40 letters"),
        (NotesChange(add_tags=("",)), "'' is not allowed"),
        (NotesChange(add_tags=("x" * 41,)), "1 to 40"),
        (NotesChange(add_tags=tuple(map(str, range(21)))), "21 tags are too many; at most 20"),
        (NotesChange(name="x" * 101), "101 characters; at most 100"),
        (NotesChange(note="x" * (LONGEST_NOTE + 1)), "4,001 characters; at most 4,000"),
    ],
)
def test_what_is_not_allowed_changes_nothing(tmp_path: Path, change: NotesChange, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        change_notes(RunDir(tmp_path), change)
    assert not RunDir(tmp_path).notes.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a\n- b\n",
        b"name: [x\n",
        b"\xff\xfe\x00",
        b"a" * (1 << 17),
        b"name: {a: b}\nnote: [1]\ntags: {x: y}\n",
        b"tags: [[a], {b: c}, 'x y', null]\n",
        b"[" * 30_000,
    ],
)
def test_a_damaged_file_says_nothing(tmp_path: Path, content: bytes) -> None:
    RunDir(tmp_path).notes.write_bytes(content)
    found = read_notes(RunDir(tmp_path))
    assert (found.name, found.note) == ("", "")
    assert set(found.tags) <= {"null"}


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    change_notes(run, NotesChange(name=HOSTILE, note=HOSTILE))
    found = read_notes(run)
    for text in (found.name, found.note, run.notes.read_text()):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    # A file that another program has written.
    run.notes.write_text(f"name: {json.dumps(HOSTILE)}\ntags: [{json.dumps(HOSTILE)}, ok]\n")
    assert read_notes(run).name == found.name
    assert read_notes(run).tags == ("ok",)


def test_the_command_and_a_fork(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    make_checkpoint(runs[0], 10)
    paths = [str(run.path) for run in runs]
    said = CliRunner().invoke(command, [*paths, "--name", "base", "--tag", "x", "--tag", "y", "--note", "why\nso"])
    assert said.output == "".join(f"{path}  base  #x  #y\n  why\n  so\n" for path in paths)
    said = CliRunner().invoke(command, [paths[0], "--untag", "y", "--json"])
    assert json.loads(said.output) == [{"path": paths[0], "name": "base", "note": "why\nso", "tags": ["x"]}]
    # A fork belongs to what its origin belongs to; name and note are the origin's own.
    assert read_notes(fork_run(runs[0], 10, tmp_path / "c")) == Notes(tags=("x",))
