"""The dialog that continues prompts with a checkpoint; the engine's text is shown literally while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Label, Static

from chomp.record.formatting import sanitize
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.sample import SampleSession
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

# The engine's names of the options, their labels here, and the engine's defaults.
OPTIONS = (
    ("temperature", "temperature", "1", float),
    ("top_k", "top-k", "", int),
    ("top_p", "top-p", "", float),
    ("max_tokens", "tokens", "128", int),
    ("seed", "seed", "42", int),
)
# The text is drawn at most this often.
DRAW_SECONDS = 0.1


class SampleDialog(Dialog[None]):
    """Continues one prompt after another; Esc ends the text that is being written, then closes and kills the engine.

    Args:
        helper: runs the engine.
        checkpoint: its folder.
        environment: variables to set for the engine.
    """

    def __init__(self, helper: Helper, checkpoint: Path, environment: Mapping[str, str]) -> None:
        super().__init__(classes="dialog wide sampling")
        self._checkpoint = checkpoint
        self._is_refused = False
        self.session = SampleSession(helper, checkpoint, environment, self._say)

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
        self.set_interval(DRAW_SECONDS, self._draw)
        self._worker = self.run_worker(self.session.run(), exit_on_error=False)

    # Keys ------------------------------------------------------------------------------

    def on_input_submitted(self) -> None:
        if self.session.is_writing:
            return
        self._is_refused = False
        request: dict[str, Any] = {"prompt": self.query_one("#sample-prompt", Input).value}
        for name, label, _, kind in OPTIONS:
            text = self.query_one(f"#sample-{name}", Input).value.strip()
            try:
                request |= {name: kind(text)} if text else {}
            except ValueError:
                self._say(f"{label}: {text} is no {'whole ' * (kind is int)}number", True)
                self._is_refused = True
                return
        self.session.write(request)

    def action_cancel(self) -> None:
        """End what is being written; with nothing to end, close."""
        if not self.session.interrupt():
            self._worker.cancel()
            self.answer(None)

    # What is shown ---------------------------------------------------------------------

    def _draw(self) -> None:
        """Show the text if it has changed."""
        session = self.session
        if not self.is_mounted or not session.has_news:
            return
        session.has_news = False
        shown = Content.styled(sanitize(session.prompt), "bold") + Content(sanitize(session.text))
        panel = self.query_one(VerticalScroll)
        follows = panel.scroll_y >= panel.max_scroll_y
        set_text(self.query_one("#sample-text", Static), shown)
        if follows:
            panel.scroll_end(animate=False)

    def _say(self, text: str, bad: bool) -> None:
        # Not `is_mounted`: that is true only after `on_mount`. What is wrong stays when the model is loaded.
        if self.is_attached and (bad or not self._is_refused):
            said = Content.styled(sanitize(text), "$error" if bad else "$muted")
            set_text(self.query_one("#sample-state", Label), said)
