"""A dialog in which a checkpoint writes: the engine in a child process, its text shown literally."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Label, Static

from chomp.events.text import defused
from chomp_tui.dialogs import Dialog


def generate_command(checkpoint: Path, prompt: str) -> list[str]:
    """The child's argument list."""
    return [sys.executable, "-m", "chomp", "generate", str(checkpoint), f"--prompt={prompt}", "--json"]


class SampleDialog(Dialog[None]):
    """Writes after a prompt and shows what came of it; Esc ends the child.

    Args:
        checkpoint: its folder.
        prompt: the text to continue.
        environment: variables to set for the child.
    """

    def __init__(self, checkpoint: Path, prompt: str, environment: Mapping[str, str]) -> None:
        super().__init__(classes="dialog wide")
        self._checkpoint = checkpoint
        self._prompt = prompt
        # Beside a live run there is no room for a pool of three quarters of the memory.
        self._environ = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **environment}
        self._process: Process | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(f"A sample of step {self._checkpoint.name}"), classes="title")
            with VerticalScroll():
                yield Static(Content("loading the model and writing…"), id="sample-text")
            yield Label("Esc stops it and closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.run_worker(self._write(), exit_on_error=False)

    async def _write(self) -> None:
        command = generate_command(self._checkpoint, self._prompt)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=self._environ, start_new_session=True
            )
            output, errors = await self._process.communicate()
        except (OSError, ValueError) as error:
            self._show(Content.styled(f"the engine could not be started: {error}", "$error"))
            return
        finally:
            self._end()
        self._show(written(output, errors, self._process.returncode or 0))

    def _show(self, text: Content) -> None:
        self.query_one("#sample-text", Static).update(text)
        self.query_one(".hint", Label).update("arrows scroll, Esc closes")

    def _end(self) -> None:
        """End the child with everything it started."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def on_unmount(self) -> None:
        self._end()

    def action_cancel(self) -> None:
        self._end()
        self.answer(None)


def written(output: bytes, errors: bytes, code: int) -> Content:
    """What the child printed, for people: prompt and text, or the one sentence that says what went wrong."""
    try:
        found = json.loads(output)
        text = Content.styled(defused(str(found["prompt"])), "bold") + Content(defused(str(found["text"])))
        return text + Content.styled(f"\n\n{found['tokens']} tokens", "$muted")
    except (ValueError, KeyError, TypeError, RecursionError):
        lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        reason = (said or lines or [f"the engine ended with code {code} and said nothing"])[-1]
        return Content.styled(defused(reason), "$error")
