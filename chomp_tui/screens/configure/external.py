"""Edits the YAML in the user's own editor, which gets the terminal meanwhile."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from textual.app import SuspendNotSupported

from chomp_tui.screens.configure.file_dialogs import Editor

# Used where the environment names none.
_USUAL = ("nano", "vi")
# Editors that take the line as `+LINE`.
_TAKES_LINE = frozenset({"emacs", "kak", "joe", "micro", "nano", "ne", "nvim", "vi", "vim"})
_UNSET = "set $VISUAL or $EDITOR to the command of an editor"


class Place(Editor, Protocol):
    """What this needs of the screen."""

    @property
    def line(self) -> int:
        """The line of the cursor."""

    async def show_first_problem(self) -> None:
        """Put the cursor on the first problem."""


def editor_command(environ: Mapping[str, str], path: Path, line: int) -> list[str] | None:
    """The command that edits a file at a line; None where there is no editor.

    Raises:
        ValueError: the environment names one with an unclosed quote.
    """
    named = environ.get("VISUAL") or environ.get("EDITOR") or next(filter(shutil.which, _USUAL), "")
    words = shlex.split(named)
    if not words:
        return None
    return [*words, *([f"+{line}"] if Path(words[0]).name in _TAKES_LINE else []), str(path)]


async def edit_outside(screen: Place) -> None:
    """Edit the text in the user's editor, take what it has saved, and go to the first problem in it."""
    document = screen.document
    with tempfile.TemporaryDirectory(prefix="chomp-") as folder:
        path = Path(folder) / (document.path.name if document.path else "configuration.yaml")
        path.write_bytes(document.text.encode("utf-8", "replace"))
        try:
            command = editor_command(os.environ, path, screen.line)
        except ValueError as error:
            command, why = None, f"$VISUAL or $EDITOR cannot be read: {str(error).lower()}"
        else:
            why = _run(screen, command) if command else _UNSET
        text = None if why else _text(path)
    if text is None:
        screen.chomp.notify(why or "not taken: the editor has not saved UTF-8 text", severity="warning")
    elif text == document.text:
        screen.chomp.notify("the editor has changed nothing")
    else:
        document.replace(text)
        screen.document_changed()
        if document.check().problems:
            await screen.show_first_problem()


def _run(screen: Place, command: list[str]) -> str:
    """Run the editor in the terminal; returns why its text is not taken, "" if it is."""
    failed = ""
    try:
        with screen.app.suspend():
            # An error must not leave the block: Textual would not take the terminal back.
            try:
                # Descriptors 1 and 2 lead into a log while the screens run; these two names are the terminal.
                code = subprocess.run(command, stdout=sys.__stdout__, stderr=sys.__stderr__, check=False).returncode
            except OSError as error:
                failed = f"{command[0]} cannot be started: {error.strerror}; {_UNSET}"
            else:
                failed = f"not taken: {command[0]} ended with exit code {code}" if code else ""
    except SuspendNotSupported:
        return "this terminal cannot be given to another program; edit the YAML here (F4)"
    return failed


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
