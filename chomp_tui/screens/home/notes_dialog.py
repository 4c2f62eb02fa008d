"""Edits the name, the note and the tags of a run, or the tags of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label

from chomp.errors import ChompError
from chomp.record.formatting import sanitize
from chomp.record.notes import Notes, NotesChange, change_notes, require_readable
from chomp.record.rundir import RunDir
from chomp.record.summary import RunSummary
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Ask, Dialog

FIELDS = (("name", "Name"), ("note", "Note"), ("tags", "Tags"))


class EditNotes(Dialog[NotesChange]):
    """Three lines; the answer is what has changed. Line ends of a note are shown as ` / `."""

    def __init__(self, run: RunSummary) -> None:
        super().__init__(classes="dialog notes")
        self._run = run
        self._texts = {
            "name": run.notes.name,
            "note": " / ".join(run.notes.note.splitlines()),
            "tags": " ".join(run.notes.tags),
        }

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(f"Notes on {self._run.name}")), classes="title")
            for field, label in FIELDS:
                yield Label(label, classes="label")
                yield Input(self._texts[field], id=f"notes-{field}", compact=True)
            yield Label("", classes="error")
            yield Label("Tab to the next line, Enter accepts, Esc cancels", classes="hint")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        values = {field: self.query_one(f"#notes-{field}", Input).value for field, _ in FIELDS}
        tags = tuple(values["tags"].replace(",", " ").split())
        old = self._run.notes.tags
        note = values["note"] if values["note"] != self._texts["note"] else None
        change = NotesChange(
            name=values["name"] if values["name"] != self._texts["name"] else None,
            note="\n".join(part.strip() for part in note.split(" / ")) if note is not None else None,
            add_tags=tuple(tag for tag in tags if tag not in old),
            remove_tags=tuple(tag for tag in old if tag not in tags),
        )
        wrong = problem_of(change, [self._run.notes])
        if wrong is None:
            self.answer(change)
        else:
            self.query_one(".error", Label).update(Content(sanitize(wrong)))


def edit_notes(app: App[None], console: Console, run: RunSummary, done: Callable[[], None]) -> None:
    """Let the user edit the notes of a run; `done` is called afterwards."""
    if not _readable(console, [run]):
        return
    app.push_screen(EditNotes(run), lambda change: _apply(console, [run], change, done))


def edit_tags(app: App[None], console: Console, runs: Sequence[RunSummary], done: Callable[[], None]) -> None:
    """Let the user add and remove tags of runs."""
    if not _readable(console, runs):
        return

    def answered(text: str | None) -> None:
        _apply(console, runs, None if text is None else tag_change(text), done)

    app.push_screen(_ask_tags(runs), answered)


def _readable(console: Console, runs: Sequence[RunSummary]) -> bool:
    """Whether the notes of all runs can be changed; says of the first why not."""
    try:
        for run in runs:
            require_readable(RunDir(run.path))
    except ChompError as error:
        console.notify(str(error), severity="error")
        return False
    return True


def _apply(console: Console, runs: Sequence[RunSummary], change: NotesChange | None, done: Callable[[], None]) -> None:
    if not change:
        return
    for run in runs:
        try:
            change_notes(RunDir(run.path), change)
        except ChompError as error:
            console.notify(str(error), severity="error")
    done()


def _ask_tags(runs: Sequence[RunSummary]) -> Ask:
    """Ask for tags to add to several runs and to remove from them."""
    shared = sorted(set.intersection(*(set(run.notes.tags) for run in runs)))
    return Ask(
        f"Tags of {runs[0].name}" if len(runs) == 1 else f"Tags of {len(runs)} runs",
        placeholder="base -old",
        text=f"Tags now: {' '.join(shared) or 'none in all of them'}. A minus sign removes a tag.",
        check=lambda text: problem_of(tag_change(text), [run.notes for run in runs]),
    )


def tag_change(text: str) -> NotesChange:
    """`base -old`: tags to add, and with a minus sign to remove."""
    words = text.replace(",", " ").split()
    return NotesChange(
        add_tags=tuple(word.lstrip("+") for word in words if not word.startswith("-")),
        remove_tags=tuple(word[1:] for word in words if word.startswith("-")),
    )


def problem_of(change: NotesChange, notes: Sequence[Notes]) -> str | None:
    """Why a change is not allowed, in one sentence, or None."""
    try:
        for one in notes:
            change.of(one)
    except ChompError as error:
        return str(error)
    return None
