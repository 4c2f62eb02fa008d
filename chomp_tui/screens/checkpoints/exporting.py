"""Exporting a checkpoint: the engine in a child process says which formats are possible, and another one writes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from chomp.record.new_folder import NewFolder, free_path
from chomp.record.rundir import RunDir
from chomp.record.text import duration, plural, sanitize, size
from chomp_tui.platform.background import in_thread
from chomp_tui.platform.child import Answer, ask_child, said_object, sentence
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

# -P: a file of the working folder that is called as a library is not imported instead of it.
ENGINE = (sys.executable, "-P", "-m", "chomp")
# A format's name, and what is said of it, as they fit into 80 columns.
NAME_CELLS, WHAT_CELLS = 16, 46
# Of what the child says while it works, the last lines are shown.
MOST_LINES = 3
DRAW_SECONDS = 0.2
UNREADABLE = "the engine's answer could not be read; is another version of chomp installed?"


@dataclass(frozen=True)
class Offer:
    """A format: whether the checkpoint can be written in it, and what it is, or why not."""

    name: str
    is_possible: bool
    text: str


def list_command(checkpoint: Path) -> list[str]:
    """The argument list of the child that says which formats there are."""
    return [*ENGINE, "export", "--list", "--json", "--", str(checkpoint)]


def export_command(checkpoint: Path, name: str, folder: Path) -> list[str]:
    """The argument list of the child that writes."""
    return [*ENGINE, "export", f"--to={name}", f"--output={folder}", "--json", "--", str(checkpoint)]


class ExportDialog(Dialog[str]):
    """Asks for a format and a folder, and has the model written. Esc closes and ends the child.

    Its answer is a sentence if something was ended, else None.

    Args:
        checkpoint: its folder.
        environment: variables to set for the child.
    """

    def __init__(self, checkpoint: Path, environment: Mapping[str, str]) -> None:
        super().__init__(classes="dialog wide exporting")
        self._checkpoint = checkpoint
        # Beside a live run there is no room for a pool of three quarters of the memory.
        self._environ = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **environment}
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
        self._worker = self.run_worker(self._ask())

    # The formats -----------------------------------------------------------------------

    async def _ask(self) -> None:
        answer = await self._child(list_command(self._checkpoint))
        if answer is None:
            return
        self._offers = read_offers(answer)
        if not self._offers:
            self._say(UNREADABLE, bad=True)
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
        """The format at hand."""
        at = self.query_one(OptionList).highlighted
        return self._offers[at] if at is not None and at < len(self._offers) else None

    def on_option_list_option_highlighted(self) -> None:
        """Name the format, and propose a folder for it unless a person has typed another one."""
        offer, field = self._offer(), self.query_one(Input)
        if offer is not None:
            # In words, for a terminal that does not show which row is lit.
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
        # The engine would say so too, after it has read the model.
        if await in_thread(lambda: os.path.lexists(folder)):
            self._say(f"{folder} exists; name another folder, or delete it", bad=True)
            return
        place = await in_thread(lambda: NewFolder.at(folder))
        pids: list[int] = []
        self._enable(False)
        self._began, self._writing = time.monotonic(), name
        self._tick()
        try:
            answer = await self._child(export_command(self._checkpoint, name, folder), pids)
        finally:
            self._writing = ""
            for pid in pids:
                # One that was killed could not clear up after itself.
                place.clear(pid)
        self._enable(True)
        if answer is None:
            self.query_one(Input).focus()
            return
        self._say(summary(folder, answer))
        self._folders = await in_thread(self._free_folders)
        self.query_one(Input).value = str(self._folders[name])
        self.query_one(OptionList).focus()

    async def _child(self, command: list[str], pids: list[int] | None = None) -> Answer | None:
        """What a child answers; if it fails, its reason is shown."""
        self._said = ""
        try:
            answer = await ask_child(
                command,
                self._environ,
                on_start=pids.append if pids is not None else lambda pid: None,
                on_errors=self._hear,
            )
        except (OSError, ValueError) as error:
            self._fail(f"the engine could not be started: {getattr(error, 'strerror', None) or error}")
            return None
        if answer.code != 0:
            self._fail(sentence(answer))
            return None
        return answer

    def _hear(self, text: str) -> None:
        self._said = text

    def _is_busy(self) -> bool:
        return self._worker is not None and not self._worker.is_finished

    # Keys ------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        """Close; a child at work is killed, and what it has begun is taken away."""
        stopped = f"the export of step {self._checkpoint.name} was stopped" if self._writing else None
        if self._worker is not None:
            self._worker.cancel()
        self.answer(stopped)

    # What is shown ---------------------------------------------------------------------

    def _enable(self, yes: bool) -> None:
        self.query_one(OptionList).disabled = self.query_one(Input).disabled = not yes

    def _tick(self) -> None:
        """Show what the child has said since the last time, and that time goes on."""
        if not self.is_attached:
            return
        lines = [line for line in self._said.splitlines() if line.strip()]
        set_text(self.query_one("#export-said", Static), Content(sanitize("\n".join(lines[-MOST_LINES:]))))
        if self._writing:
            self._say(f"writing {self._writing}… {duration(time.monotonic() - self._began)}")

    def _fail(self, text: str) -> None:
        # Its reason stands below; the lines around it would only take its room.
        self._said = ""
        self._say(text, bad=True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        # Not `is_mounted`: that is told only after `on_mount`.
        if self.is_attached:
            said = Content.styled(sanitize(text), "$error" if bad else "$foreground")
            set_text(self.query_one("#export-state", Static), said)


def free_folder(checkpoint: Path, name: str) -> Path:
    """Where a model is written if nobody says otherwise: beside the folder of runs, so that it outlives its run."""
    run = checkpoint.parent.parent
    return free_path(run.parent.parent / "exported" / f"{RunDir(run).name}-{checkpoint.name}-{name}")


def _typed(text: str) -> Path:
    """A folder as it is typed, where `~` is one's own."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def read_offers(answer: Answer) -> tuple[Offer, ...]:
    """The formats that a child has told of, possible ones first; none if it told of none."""
    said = said_object(answer) or {}
    offers = [
        Offer(name, entry.get("possible") is True, str(entry.get("why") or entry.get("what") or ""))
        for name, entry in said.items()
        if isinstance(entry, dict)
    ]
    return tuple(sorted(offers, key=lambda offer: not offer.is_possible))


def _option(offer: Offer) -> Option:
    sign, style = ("✓", "bold") if offer.is_possible else ("✗", "dim")
    name = f"{sign} {offer.name}"
    lines = Content(sanitize(offer.text)).wrap(WHAT_CELLS)
    first = Content.assemble((sanitize(name).ljust(NAME_CELLS), style), " ", lines[0] if lines else "")
    return Option(Content("\n" + " " * (NAME_CELLS + 1)).join([first, *lines[1:]]))


def summary(folder: Path, answer: Answer) -> str:
    """Where the model lies, how large it is, and what it lost if that was measured."""
    said = said_object(answer) or {}
    files: Any = said.get("bytes")
    if not isinstance(files, dict) or not all(isinstance(count, int) for count in files.values()):
        return f"written to {folder}"
    text = f"✓ written to {folder}: {size(sum(files.values()))} in {plural(len(files), 'file')}"
    try:
        before, after = (float(said["loss"][when]["nats_per_token"]) for when in ("before", "after"))
    except (KeyError, TypeError, ValueError):
        return text
    return f"{text}\nheld-out loss {before:.5f} → {after:.5f} nats/token ({after - before:+.5f})"
