"""Dialogs: confirm, choose, enter a line, read a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.widgets.too_small import TooSmall

Answer = TypeVar("Answer")
# Width of a choice's explanation.
HELP_CELLS = 50


class Dialog(ModalScreen[Answer | None]):
    """A screen over a screen, for one answer; None when cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("dialog")]

    def on_mount(self) -> None:
        # The dialog would cover the message of the screen below.
        self.mount(TooSmall())

    def answer(self, answer: Answer | None) -> None:
        """Close with an answer; only the first counts, since keys typed fast still reach a dialog that is closed."""
        if self.app.screen is self:
            self.dismiss(answer)

    def action_suspend(self) -> None:
        """Give the terminal back to the shell until the user continues the console."""
        self.app.action_suspend_process()

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.answer(None)


@dataclass(frozen=True)
class Choice:
    """One answer: the id that is returned, the letter that chooses it, its label and an explanation."""

    id: str
    key: str
    label: str
    help: str = ""


class Choose(Dialog[str]):
    """One of a few answers, by letter, by arrows and Enter, or by mouse; None when cancelled."""

    def __init__(self, title: str, choices: Sequence[Choice], text: str = "") -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._choices = tuple(choices)
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            if self._text:
                yield Static(Content(sanitize(self._text)), classes="text")
            yield self.options()
            yield Label("a letter, or arrows and Enter; Esc cancels", classes="hint")

    def options(self) -> OptionList:
        """The list of answers."""
        return OptionList(*(Option(_choice_line(choice), id=choice.id) for choice in self._choices))

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_key(self, event) -> None:  # type: ignore[no-untyped-def]
        for choice in self._choices:
            if event.character == choice.key:
                event.stop()
                self.answer(choice.id)
                return

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.answer(event.option_id)


def _choice_line(choice: Choice) -> Content:
    line = Content.assemble((f" {choice.key} ", "bold reverse"), "  ", (choice.label, "bold"))
    below = [Content.styled(part.plain, "dim") for part in Content(sanitize(choice.help)).wrap(HELP_CELLS)]
    return Content("\n      ").join([line, *below]) if choice.help else line


class Ask(Dialog[str]):
    """One line of text; None when cancelled.

    Args:
        check: returns what is wrong with a text in one sentence, or None.
    """

    def __init__(
        self,
        title: str,
        *,
        value: str = "",
        placeholder: str = "",
        text: str = "",
        check: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._value = value
        self._placeholder = placeholder
        self._text = text
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            if self._text:
                yield Static(Content(sanitize(self._text)), classes="text")
            yield Input(self._value, placeholder=self._placeholder)
            yield Label("", classes="error")
            yield Label("Enter accepts, Esc cancels", classes="hint")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        wrong = self._check(event.value)
        if wrong is None:
            self.answer(event.value)
        else:
            self.query_one(".error", Label).update(Content(sanitize(wrong)))


class Read(Dialog[None]):
    """A text to read, shown literally and scrolled by keys; a short one has a low box."""

    def __init__(self, title: str, text: str | Content) -> None:
        super().__init__(classes="dialog wide reading")
        self._title = title
        self._text = text if isinstance(text, Content) else Content(sanitize(text))

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            with VerticalScroll():
                yield Static(self._text)
            yield Label("arrows scroll, Esc closes", classes="hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def confirm(title: str, *, text: str, yes: str) -> Choose:
    """A question with No and `yes`; the cursor starts at No."""
    return Choose(title, (Choice("no", "n", "No"), Choice("yes", "y", yes)), text)
