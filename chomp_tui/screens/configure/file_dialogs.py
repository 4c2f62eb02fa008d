"""Dialogs to open and compare the current configuration."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar, Protocol

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label

from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.documents import Base, bases
from chomp_tui.config.draft import Draft
from chomp_tui.platform.background import in_thread
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Dialog, Read, confirm
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


def diff_dialog(document: ConfigDocument) -> Read:
    """What differs from the file, or from the text that a new configuration began with, as a unified diff."""
    before = "as it is on disk" if document.path is not None else "as it began"
    rows = diff_lines(document.base, document.text, before, "on screen") or [Content(f"Nothing: the text is {before}.")]
    if document.overrides:
        rows += [Content(""), Content.styled("overrides, for this run only", "$muted")]
        rows += [Content(f"  -o {sanitize(one)}") for one in document.overrides]
    return Read(f"What differs: {document.name}", Content("\n").join(rows))


def diff_lines(before: str, after: str, before_name: str, after_name: str) -> list[Content]:
    """A unified diff of two texts; control characters in it are shown as signs."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="", n=2)
    tones = {"+": "$success", "-": "$error", "@": "$primary"}
    return [Content.styled(sanitize(line), tones.get(line[:1], "")) for line in lines]
