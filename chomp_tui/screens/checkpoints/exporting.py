"""The export dialog: a format, a folder, and what the engine says while it writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from chomp.record.formatting import duration, sanitize
from chomp.record.rundir import RunDir
from chomp_tui.engine.export import Offer, export, free_folder, list_formats
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.process import EngineError
from chomp_tui.platform.background import in_thread
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

# A format's name, and its description, as they fit into 80 columns.
NAME_CELLS, WHAT_CELLS = 16, 46
# Of what the child says while it works, the last lines are shown.
MOST_LINES = 3
DRAW_SECONDS = 0.2


class ExportDialog(Dialog[str]):
    """Asks for a format and a folder, and has the model written; Esc closes and kills the engine that writes it.

    Its answer is a sentence if an export was stopped, else None.

    Args:
        helper: runs the engine.
        checkpoint: its folder.
        environment: variables to set for the engine.
    """

    def __init__(self, helper: Helper, checkpoint: Path, environment: Mapping[str, str]) -> None:
        super().__init__(classes="dialog wide exporting")
        self._helper = helper
        self._checkpoint = checkpoint
        self._environment = environment
        self._offers: tuple[Offer, ...] = ()
        self._folders: Mapping[str, Path] = {}
        self._worker: Worker[None] | None = None
        self._said = self._writing = ""
        self._began = 0.0

    def compose(self) -> ComposeResult:
        run = RunDir(self._checkpoint.parent.parent).name
        with Vertical(classes="box"):
            yield Label(Content(sanitize(f"Export step {self._checkpoint.name} of {run}")), classes="title")
            yield OptionList(id="export-formats", disabled=True)
            with Horizontal(id="export-place"):
                yield Label("folder", id="export-what", markup=False)
                yield Input(id="export-folder", compact=True, disabled=True)
            yield Static("", id="export-said", markup=False)
            yield Static("", id="export-state", markup=False)
            yield Label("Enter picks a format, then writes; Tab moves; Esc closes and ends it", classes="hint")

    def on_mount(self) -> None:
        self._say("asking the engine which formats are possible…")
        self.set_interval(DRAW_SECONDS, self._tick)
        self._worker = self.run_worker(self._list())

    # The formats -----------------------------------------------------------------------

    async def _list(self) -> None:
        try:
            self._offers = await list_formats(self._helper, self._checkpoint, self._environment)
        except EngineError as error:
            self._fail(str(error))
            return
        self._folders = await in_thread(self._free_folders)
        self._say("")
        formats = self.query_one(OptionList)
        formats.add_options([_option(offer) for offer in self._offers])
        self._enable(True)
        formats.highlighted = next((at for at, offer in enumerate(self._offers) if offer.is_possible), 0)
        formats.focus()

    def _free_folders(self) -> Mapping[str, Path]:
        return {offer.name: free_folder(self._checkpoint, offer.name) for offer in self._offers if offer.is_possible}

    def _offer(self) -> Offer | None:
        """The highlighted format."""
        at = self.query_one(OptionList).highlighted
        return self._offers[at] if at is not None and at < len(self._offers) else None

    def on_option_list_option_highlighted(self) -> None:
        """Name the format, and propose a folder for it unless the user has typed another one."""
        offer, field = self._offer(), self.query_one(Input)
        if offer is not None:
            # In words, for a terminal that does not show which row is highlighted.
            what = f"write {offer.name} to" if offer.is_possible else f"no {offer.name}"
            set_text(self.query_one("#export-what", Label), Content(sanitize(what)))
        proposals = {str(folder) for folder in self._folders.values()}
        if offer is not None and offer.is_possible and (not field.value or field.value in proposals):
            field.value = str(self._folders[offer.name])

    def on_option_list_option_selected(self) -> None:
        offer = self._offer()
        if offer is None or self._is_busy():
            return
        if offer.is_possible:
            self._say("")
            self.query_one(Input).focus()
        else:
            self._say(offer.text, bad=True)

    # The export ------------------------------------------------------------------------

    def on_input_submitted(self) -> None:
        offer, text = self._offer(), self.query_one(Input).value.strip()
        if offer is None or self._is_busy():
            return
        if not offer.is_possible:
            self._say(offer.text, bad=True)
        elif not text:
            self._say("name a folder", bad=True)
        else:
            self._worker = self.run_worker(self._export(offer.name, text))

    async def _export(self, name: str, text: str) -> None:
        folder = _typed(text)
        self._enable(False)
        self._began, self._writing, self._said = time.monotonic(), name, ""
        self._tick()
        try:
            summary = await export(self._helper, self._checkpoint, name, folder, self._environment, self._hear)
        except EngineError as error:
            self._writing = ""
            self._enable(True)
            self.query_one(Input).focus()
            self._fail(str(error))
            return
        self._writing = ""
        # Before anything is drawn: the dialog may be closed as soon as the summary is shown.
        self._folders = await in_thread(self._free_folders)
        self._enable(True)
        self._say(summary)
        self.query_one(Input).value = str(self._folders[name])
        self.query_one(OptionList).focus()

    def _hear(self, text: str) -> None:
        self._said = text

    def _is_busy(self) -> bool:
        return self._worker is not None and not self._worker.is_finished

    # Keys ------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        """Close; a child at work is killed, and its unfinished files are deleted."""
        stopped = f"the export of step {self._checkpoint.name} was stopped" if self._writing else None
        if self._worker is not None:
            self._worker.cancel()
        self.answer(stopped)

    # What is shown ---------------------------------------------------------------------

    def _enable(self, yes: bool) -> None:
        self.query_one(OptionList).disabled = self.query_one(Input).disabled = not yes

    def _tick(self) -> None:
        """Show the child's newest lines, and the time."""
        if not self.is_attached:
            return
        lines = [line for line in self._said.splitlines() if line.strip()]
        set_text(self.query_one("#export-said", Static), Content(sanitize("\n".join(lines[-MOST_LINES:]))))
        if self._writing:
            self._say(f"writing {self._writing}… {duration(time.monotonic() - self._began)}")

    def _fail(self, text: str) -> None:
        # The child's other lines would take the room of its reason.
        self._said = ""
        self._say(text, bad=True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        # Not `is_mounted`: that is true only after `on_mount`.
        if self.is_attached:
            said = Content.styled(sanitize(text), "$error" if bad else "$foreground")
            set_text(self.query_one("#export-state", Static), said)


def _typed(text: str) -> Path:
    """A folder as typed, with `~` expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _option(offer: Offer) -> Option:
    sign, style = ("✓", "bold") if offer.is_possible else ("✗", "dim")
    name = f"{sign} {offer.name}"
    lines = Content(sanitize(offer.text)).wrap(WHAT_CELLS)
    first = Content.assemble((sanitize(name).ljust(NAME_CELLS), style), " ", lines[0] if lines else "")
    return Option(Content("\n" + " " * (NAME_CELLS + 1)).join([first, *lines[1:]]))
