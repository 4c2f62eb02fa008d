"""Writing with a checkpoint: the engine in a child process of its own, its text shown literally as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Label, Static

from chomp.record.text import sanitize
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

# The engine's names for what may be set, as this screen calls them, with the engine's defaults.
OPTIONS = (
    ("temperature", "temperature", "1", float),
    ("top_k", "top-k", "", int),
    ("top_p", "top-p", "", float),
    ("max_tokens", "tokens", "128", int),
    ("seed", "seed", "42", int),
)
ENDS = {
    "length": "the most it may write",
    "end-of-text": "the end-of-text id",
    "stop": "a stop text",
    "stopped": "your key",
}
# Text is drawn so often, however fast it comes.
DRAW_SECONDS = 0.1
# Of text that nobody will read to its end, the end is kept.
MOST_CHARACTERS = 100_000


def generate_command(checkpoint: Path) -> list[str]:
    """The child's argument list: it answers each line of its input."""
    # -P: a file of the working folder that is called as a library is not imported instead of it.
    return [sys.executable, "-P", "-m", "chomp", "generate", str(checkpoint), "--interactive", "--json"]


class SampleDialog(Dialog[None]):
    """Continues one prompt after another. Esc ends what is being written, then closes and ends the child.

    Args:
        checkpoint: its folder.
        environment: variables to set for the child.
    """

    def __init__(self, checkpoint: Path, environment: Mapping[str, str]) -> None:
        super().__init__(classes="dialog wide sampling")
        self._checkpoint = checkpoint
        # Beside a live run there is no room for a pool of three quarters of the memory.
        self._environ = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **environment}
        self._process: Process | None = None
        self._prompt = self._text = ""
        self._is_writing = self._is_ready = self._has_news = False
        self._asked: bytes | None = None

    def compose(self) -> ComposeResult:
        run = self._checkpoint.parent.parent.name
        with Vertical(classes="box"):
            yield Label(Content(sanitize(f"Write with step {self._checkpoint.name} of {run}")), classes="title")
            yield Input(placeholder="text to continue; empty begins a new document", id="sample-prompt")
            with Horizontal(id="sample-options"):
                for name, label, default, _ in OPTIONS:
                    yield Label(label)
                    yield Input(default, placeholder="all" if not default else "", id=f"sample-{name}", compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(markup=False, id="sample-text")
            yield Label("", id="sample-state", markup=False)
            yield Label("Enter writes, Tab moves, Esc stops it, then closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one("#sample-prompt").focus()
        self._say("loading the model…")
        self.set_interval(DRAW_SECONDS, self._draw)
        self.run_worker(self._converse(), exit_on_error=False)

    # The child -------------------------------------------------------------------------

    async def _converse(self) -> None:
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *generate_command(self._checkpoint),
                stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._environ, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self._fail(f"the engine could not be started: {error}")
            return
        assert process.stdout is not None
        assert process.stderr is not None
        # Read beside the answers, so that a full pipe holds up nothing.
        errors = asyncio.create_task(process.stderr.read())
        try:
            async for line in process.stdout:
                self._take(line)
            await process.wait()
            self._fail(reason(await errors, process.returncode or 0))
        finally:
            self._end()

    def _take(self, line: bytes) -> None:
        """One line of the child's."""
        try:
            said: dict[str, Any] = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if "step" in said:
            self._is_ready = True
            self._say("ready")
            self._send()
        elif "prompt" in said:
            self._prompt, self._text, self._has_news = str(said["prompt"]), "", True
        elif "piece" in said:
            self._text, self._has_news = (self._text + str(said["piece"]))[-MOST_CHARACTERS:], True
        else:
            self._is_writing = False
            self._draw()
            self._say(str(said["problem"]) if "problem" in said else summary(said), bad="problem" in said)

    def _send(self) -> None:
        """Ask for what was asked for, once there is somebody to ask."""
        if self._asked is None or not self._is_ready or self._process is None or self._process.stdin is None:
            return
        self._process.stdin.write(self._asked)
        self._asked, self._is_writing = None, True
        self._say("writing… (the first time it is compiled)" if not self._text else "writing…")

    def _end(self) -> None:
        """End the child with everything it started."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # Keys ------------------------------------------------------------------------------

    def on_input_submitted(self) -> None:
        if self._is_writing:
            return
        asked: dict[str, Any] = {"prompt": self.query_one("#sample-prompt", Input).value}
        for name, label, _, kind in OPTIONS:
            text = self.query_one(f"#sample-{name}", Input).value.strip()
            try:
                asked |= {name: kind(text)} if text else {}
            except ValueError:
                self._say(f"{label}: {text} is no {'whole ' * (kind is int)}number", bad=True)
                return
        self._asked = json.dumps(asked).encode() + b"\n"
        self._send()

    def action_cancel(self) -> None:
        """End what is being written; with nothing to end, close."""
        if self._is_writing and self._process is not None and self._text:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            return
        self._end()
        self.answer(None)

    def on_unmount(self) -> None:
        self._end()

    # What is shown ---------------------------------------------------------------------

    def _draw(self) -> None:
        """Show what has come since the last time."""
        if not self.is_mounted or not self._has_news:
            return
        self._has_news = False
        shown = Content.styled(sanitize(self._prompt), "bold") + Content(sanitize(self._text))
        panel = self.query_one(VerticalScroll)
        follows = panel.scroll_y >= panel.max_scroll_y
        set_text(self.query_one("#sample-text", Static), shown)
        if follows:
            panel.scroll_end(animate=False)

    def _say(self, text: str, *, bad: bool = False) -> None:
        # Not `is_mounted`: that is told only after `on_mount`.
        if self.is_attached:
            said = Content.styled(sanitize(text), "$error" if bad else "$muted")
            set_text(self.query_one("#sample-state", Label), said)

    def _fail(self, text: str) -> None:
        self._is_ready = self._is_writing = False
        self._say(text, bad=True)


def summary(said: Mapping[str, Any]) -> str:
    """What a continuation took, from the line that ends it."""
    tokens, seconds = said.get("tokens"), said.get("seconds")
    rate = ""
    if isinstance(tokens, int) and isinstance(seconds, float) and seconds > 0:
        rate = f", {tokens / seconds:.1f} tokens/s"
    return f"{tokens} tokens{rate}; ended at {ENDS.get(str(said.get('end')), said.get('end'))}"


def reason(errors: bytes, code: int) -> str:
    """The one sentence that says why the child is gone."""
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines or [f"the engine ended with code {code} and said nothing"])[-1]
