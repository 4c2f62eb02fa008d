"""The data preview: a packed batch of the edited configuration as the model receives it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Label, Static

from chomp.config import Config, derive
from chomp.record.formatting import duration, sanitize
from chomp_tui import keys
from chomp_tui.config.draft import Draft
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.preview import PreviewSession, PreviewSource
from chomp_tui.screens.preview.drawing import rows_text, source_line, summary_text
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

# So many tokens are laid out at once, in whole sequences.
SHOWN_TOKENS, SHOWN_ROWS = 16_384, 32
TICK_SECONDS = 0.5


class PreviewDialog(Dialog[None]):
    """Shows one batch after another; Esc closes it and kills the engine that reads the text.

    Args:
        helper: runs the engine.
        name: of the configuration.
        seq_len: tokens of a sequence.
        sequences: in a batch.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("preview")]

    def __init__(self, helper: Helper, source: PreviewSource, name: str, *, seq_len: int, sequences: int) -> None:
        super().__init__(classes="dialog wide previewing")
        self._title = f"Data preview of {name}"
        self._session = PreviewSession(helper, source, self._say, self._show)
        self._sequences = sequences
        self._most = max(1, min(SHOWN_ROWS, SHOWN_TOKENS // seq_len))
        self._batch, self._first = 1, 0
        self._by_token = False
        self._shown: Mapping[str, Any] = {}
        self._said = ""
        self._began = 0.0

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            yield Static(id="preview-summary", markup=False)
            with VerticalScroll(id="preview-rows"):
                yield Static(id="preview-text", markup=False)
            yield Static(id="preview-state", markup=False)
            yield Label("⟦1⟧ begins  ‹…› masked   n p batch  ←→ sequences  t tokens  Esc closes", classes="hint")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#preview-rows").focus()
        self.set_interval(TICK_SECONDS, self._tick)
        self._worker = self.run_worker(self._session.run(), exit_on_error=False)
        self._ask("starting the engine…")

    def _ask(self, said: str) -> None:
        self._began = time.monotonic()
        self._session.ask(batch=self._batch, first=self._first, rows=self._most)
        self._say(said, False)

    # Keys ------------------------------------------------------------------------------

    def action_batch(self, by: int) -> None:
        """Show the next or the previous batch."""
        if self._batch + by >= 1 and self._session.is_ready:
            self._batch, self._first = self._batch + by, 0
            self._ask(f"reading batch {self._batch:,}…")

    def action_sequences(self, by: int) -> None:
        """Show the next or the previous sequences of the batch."""
        first = self._first + by * self._most
        if 0 <= first < self._sequences and self._session.is_ready:
            self._first = first
            self._ask(f"reading batch {self._batch:,}…")

    def action_tokens(self) -> None:
        """Separate the tokens, or show the text alone."""
        self._by_token = not self._by_token
        self._draw()

    def action_cancel(self) -> None:
        """Close; the engine that reads the text is killed."""
        self._worker.cancel()
        self.answer(None)

    # What is shown ---------------------------------------------------------------------

    def _show(self, answer: Mapping[str, Any]) -> None:
        self._shown = answer
        if self.is_attached:
            self._draw()
            self.query_one("#preview-rows", VerticalScroll).scroll_home(animate=False)

    def _draw(self) -> None:
        if not self._shown:
            return
        rows, summary = self._shown["rows"], self._shown["summary"]
        set_text(self.query_one("#preview-summary", Static), summary_text(summary))
        set_text(self.query_one("#preview-text", Static), rows_text(rows, by_token=self._by_token))
        last = self._first + len(rows)
        shown = f"sequences {self._first + 1:,} to {last:,} of {self._sequences:,} · {source_line(summary)}"
        self._say(shown, False)

    def _tick(self) -> None:
        """Say how long the engine has been at work."""
        if self.is_attached and self._session.is_waiting and self._said:
            seconds = time.monotonic() - self._began
            self._write(f"{self._said} {duration(seconds)}" if seconds >= 1 else self._said, "$muted")

    def _say(self, text: str, bad: bool) -> None:
        self._said = "" if bad else text
        if self.is_attached and text:
            self._write(text, "$error" if bad else "$muted")

    def _write(self, text: str, tone: str) -> None:
        state = self.query_one("#preview-state", Static)
        state.set_class(tone == "$error", "-failed")
        set_text(state, Content.styled(sanitize(text), tone))


def preview_of(draft: Draft, config: Config, state: ConsoleState) -> PreviewDialog:
    """The preview of a draft that is valid."""
    document = draft.document
    source = PreviewSource(document.text, document.overrides, draft.continues, dict(state.environment))
    sequences = derive(config).grad_accum * config.train.batch_size
    return PreviewDialog(state.helper, source, document.name, seq_len=config.train.seq_len, sequences=sequences)
