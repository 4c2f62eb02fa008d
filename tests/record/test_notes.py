"""A run's name, note and tags: kept as a whole, changed one by one, harmless whatever the file has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chomp.cli.note import command
from chomp.errors import ConfigError, RunDirError
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


QUOTES = 'line 2 needs quotes around the text; write note: "keep this: it is the paper run"'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name: best run\nnote: keep this: it is the paper run\ntags: [paper]\n", QUOTES),
        (b"name: x\nnote: @me\n", 'line 2 needs quotes around the text; write note: "@me"'),
        (b"name: x\nnote: [wip] y\n", 'line 2 needs quotes around the text; write note: "[wip] y"'),
        (b"name: x\nnote: 'it's'\n", 'line 2 has quotes that do not match; write such as note: "my text"'),
        (b"name: x\ntags: [a\nnote: y\n", "line 2 is no list; write such as tags: [base, old]"),
        (b"- a\n- b\n", "line 1 has none of name:, note: and tags:; write such as note: my text"),
        (b"name: x\n\xff\xfe", "line 2 is not UTF-8"),
        (b"name: y\nnote: x\0", "line 2 has a control character; remove it"),
        (b"a" * (1 << 17), "more than 65,536 bytes"),
        (b"note: x\nname: {a: b}\n", "line 2: name is no text; put it in quotes"),
        (b"tags: paper\n", "line 1: tags is no list of words"),
        (b"tags: [[a], {b: c}]\n", "line 1: tags is no list of words"),
        (b"tags:\n  - a\n  - x y\n", "line 3: 'x y' is no tag"),
        (b"note: x\nauthor: me\n", "line 2: 'author' is none of name, note and tags; put it into the note"),
        (b"note: x\nnote: y\n", "line 2: 'note' is there twice; keep one"),
        (b"name: " + b"x" * 101, "the name has 101 characters; shorten it to 100"),
        (b"note: " + b"x" * (LONGEST_NOTE + 1), "the note has 4,001 characters; shorten it to 4,000"),
        (f"tags: {list(range(21))}".encode(), "it has 21 tags; remove some"),
        (b"[" * 30_000, "is not YAML"),
    ],
)
def test_a_file_that_would_lose_something_is_never_written(tmp_path: Path, content: bytes, says: str) -> None:
    run = RunDir(tmp_path)
    run.notes.write_bytes(content)
    assert says in read_notes(run).problem
    for change in (NotesChange(add_tags=("z",)), NotesChange(name="y")):
        with pytest.raises(RunDirError, match=r"notes.yaml cannot be read and was not changed: ") as raised:
            change_notes(run, change)
        assert says in str(raised.value)
    # A resume without options changes nothing.
    change_notes(run, NotesChange())
    assert run.notes.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"# mine\n", b"name:\ntags:\n", b"tags: []\n", b"tags: [x, x]\nnote: |\n  a: b\n"]
)
def test_a_short_file_has_no_problem(tmp_path: Path, content: bytes) -> None:
    run = RunDir(tmp_path)
    run.notes.write_bytes(content)
    change_notes(run, NotesChange(name="y"))
    found = read_notes(run)
    assert (found.name, found.problem) == ("y", "")
    assert (found.note, found.tags) == (("a: b", ("x",)) if b"a: b" in content else ("", ()))


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    RunDir(tmp_path).notes.mkdir()
    with pytest.raises(RunDirError, match="Is a directory"):
        change_notes(RunDir(tmp_path), NotesChange(name="y"))


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


def test_the_command_refuses_before_it_changes_the_first_run(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    runs[1].notes.write_text("note: keep this: it is the paper run\n")
    said = CliRunner().invoke(command, [*(str(run.path) for run in runs), "--tag", "z"])
    assert isinstance(said.exception, RunDirError)
    assert f"{runs[1].notes} cannot be read" in str(said.exception)
    assert not runs[0].notes.exists()


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
