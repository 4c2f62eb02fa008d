"""Dialogs to open, save and compare the current configuration."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, ClassVar, Protocol

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label

from chomp.errors import ChompError
from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.documents import Base, ChangedOnDisk, bases, from_file, save
from chomp_tui.config.draft import Draft
from chomp_tui.platform.background import in_thread
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Ask, Choice, Choose, Dialog, Read, confirm
from chomp_tui.widgets.listing import Column, Listing, Row, cell
from chomp_tui.widgets.name_filter import NameFilter

BASE_COLUMNS = (Column("kind", "", 4), Column("name", "", 20, grow=1, middle=True))
MOST_LINES = 16


class Editor(Protocol):
    """What these dialogs need of the screen that edits a configuration."""

    @property
    def app(self) -> App[Any]: ...

    @property
    def chomp(self) -> Console: ...

    @property
    def draft(self) -> Draft: ...

    @property
    def document(self) -> ConfigDocument: ...

    def document_changed(self) -> None:
        """Show the document, whose file or text is another one now."""


class OpenList(Dialog[Base]):
    """Configurations and past runs to start from; None when cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("open")]

    def __init__(self, choices: list[Base]) -> None:
        super().__init__(classes="dialog")
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Start from", classes="title")
            yield NameFilter(listing="bases", id="base-filter")
            # A Listing draws only visible rows: there may be a thousand runs.
            yield Listing(BASE_COLUMNS, head=False, id="bases")
            yield Label("Enter opens, / filters, Esc cancels", classes="hint")

    def on_mount(self) -> None:
        listing = self.query_one(Listing)
        listing.styles.height = min(len(self._choices), MOST_LINES)
        listing.focus()
        self._draw()

    def _draw(self) -> None:
        lets_through = self.query_one(NameFilter).lets_through
        self.query_one(Listing).show([_base_row(base) for base in self._choices if lets_through(base.label)])

    def action_filter(self) -> None:
        """Show only names that contain a text."""
        self.query_one(NameFilter).ask()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._draw()

    def action_cancel(self) -> None:
        """Show all again, then close without an answer."""
        if not self.query_one(NameFilter).clear_away():
            super().action_cancel()

    def action_open(self) -> None:
        """Close with the selected entry."""
        selected = self.query_one(Listing).selected
        for base in self._choices:
            if str(base.path) == selected:
                self.answer(base)

    def on_listing_opened(self, event: Listing.Opened) -> None:
        event.stop()
        self.action_open()


def _base_row(base: Base) -> Row:
    return Row(str(base.path), {"kind": cell("run" if base.is_run else "file", "muted"), "name": cell(base.label)})


async def may_discard(screen: Editor) -> bool:
    """Whether there are no unsaved changes, or the user agrees to discard them."""
    if not screen.draft.has_unsaved:
        return True
    question = confirm(
        "Discard the unsaved changes?", text=f"{screen.document.name} differs from its file.", yes="Discard them"
    )
    return await screen.app.push_screen_wait(question) == "yes"


async def choose_base(screen: Editor) -> Base | None:
    """Ask for a configuration or a run to start from."""
    state = screen.chomp.state
    found = await in_thread(lambda: bases(state.configs, state.runs))
    if not found:
        screen.chomp.notify(f"there is no configuration in {state.configs} and no run in {state.runs}")
        return None
    return await screen.app.push_screen_wait(OpenList(found))


async def save_document(screen: Editor, path: Path | None = None, *, overwrite: bool = False) -> bool:
    """Save to the document's file, or to `path`; asks for a path if there is none, and before it overwrites a file.

    Returns:
        Whether it was saved.
    """
    document = screen.document
    target = path or document.path
    if target is None:
        return await save_as(screen)
    try:
        data = await in_thread(lambda: save(document, target, overwrite=overwrite))
    except ChangedOnDisk as error:
        return await _after_conflict(screen, document, target, str(error))
    except ChompError as error:
        screen.chomp.notify(str(error), severity="error")
        return False
    document.saved(target, data)
    screen.document_changed()
    screen.chomp.notify(f"saved {target}")
    return True


async def _after_conflict(screen: Editor, document: ConfigDocument, target: Path, sentence: str) -> bool:
    if target != document.path:
        question = confirm(f"Replace {target.name}?", text=f"{target} exists already.", yes="Replace it")
        return await screen.app.push_screen_wait(question) == "yes" and await save_document(
            screen, target, overwrite=True
        )
    choices = (
        Choice("cancel", "n", "Neither", "keep editing; F3 saves under another name"),
        Choice("overwrite", "o", "Overwrite", "write the text on screen to the file"),
        Choice("reload", "r", "Reload", "replace the text on screen with the file; Ctrl+Z restores it"),
    )
    answer = await screen.app.push_screen_wait(Choose("The file has changed", choices, sentence))
    if answer == "overwrite":
        return await save_document(screen, overwrite=True)
    if answer == "reload":
        await _reload(screen, document, target)
    return False


async def _reload(screen: Editor, document: ConfigDocument, target: Path) -> None:
    try:
        fresh = await in_thread(lambda: from_file(target))
    except ChompError as error:
        screen.chomp.notify(str(error), severity="error")
        return
    document.replace(fresh.text)
    document.saved(target, fresh.disk or b"")
    screen.document_changed()


async def save_as(screen: Editor) -> bool:
    """Ask for a name and save there."""
    document = screen.document
    folder = screen.chomp.state.configs
    start = document.path or folder / "new.yaml"

    def check(text: str) -> str | None:
        path = Path(text).expanduser()
        if not text.strip():
            return "a file name is needed"
        if path.is_dir():
            return f"{path} is a folder"
        if path.suffix not in (".yaml", ".yml"):
            return "the name must end in .yaml"
        return None if path.parent.is_dir() else f"there is no folder {path.parent}"

    name = await screen.app.push_screen_wait(Ask("Save as", value=str(start), check=check))
    return name is not None and await save_document(screen, Path(name).expanduser())


def diff_dialog(document: ConfigDocument) -> Read:
    """What differs from the file, or from the text that a new configuration began with, as a unified diff."""
    before = "as it is on disk" if document.path is not None else "as it began"
    lines = list(
        difflib.unified_diff(
            document.base.splitlines(), document.text.splitlines(), before, "on screen", lineterm="", n=2
        )
    )
    tones = {"+": "$success", "-": "$error", "@": "$primary"}
    rows = [Content.styled(sanitize(line), tones.get(line[:1], "")) for line in lines]
    if not rows:
        rows = [Content(f"Nothing: the text is {before}.")]
    if document.overrides:
        rows += [Content(""), Content.styled("overrides, for this run only", "$muted")]
        rows += [Content(f"  -o {sanitize(one)}") for one in document.overrides]
    return Read(f"What differs: {document.name}", Content("\n").join(rows))
