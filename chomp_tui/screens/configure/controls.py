"""Switches and choices of the form. A control that merely has the focus changes nothing: only Enter or a click does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from chomp.config.yaml_reader import scalar
from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import FieldView
from chomp_tui.screens.configure.picker import Option, Picker


class Control(Widget, can_focus=True):
    """Shows the value of one setting."""

    value: reactive[str] = reactive("")
    fallback: reactive[str] = reactive("")
    shown: reactive[str] = reactive("")

    @dataclass
    class Picked(Message):
        """The user picked a value; empty for the default."""

        picked_in: Control
        value: str

        @property
        def control(self) -> Control:
            return self.picked_in

    def show(self, view: FieldView) -> None:
        """Show the newest state of the setting."""
        self.value, self.fallback, self.shown = view.text, view.fallback, view.shown

    def pick(self, value: str) -> None:
        """Post that the user picked a value."""
        if value != self.value:
            self.post_message(self.Picked(self, value))


class Pick(Control):
    """A choice on one line; Enter lists the words.

    Args:
        options: words of the file, `null` among them if it is allowed.
        unset: how the list shows `null`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("pick")]

    def __init__(self, options: Sequence[str], *, title: str, unset: str = "") -> None:
        super().__init__()
        self.options = tuple(options)
        self._title = title
        self._unset = unset

    def render(self) -> Content:
        """The current word, dim if it is the default."""
        word = sanitize(self.shown)
        style = "" if self.value else "$muted"
        return Content.assemble((word, style), (" ▾", "$muted")) if not self.has_focus else Content(f"{word} ▾")

    def action_list(self) -> None:
        """Show all words."""
        options = [Option("", self.fallback, "default"), *(Option(word, self._told(word)) for word in self.options)]

        def chosen(word: str | None) -> None:
            if word is not None:
                self.pick(word)

        self.app.push_screen(Picker(self._title, options, self.value), chosen)

    def _told(self, word: str) -> str:
        return self._unset if word == "null" and self._unset else word

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_list()


class Toggle(Control):
    """A switch; Enter or a click toggles it, and Delete after that resets it to the default."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("switch")]
    # The value, if the text is a reference to a variable.
    resolved: reactive[str] = reactive("")
    # Whether the user has toggled it since it got the focus.
    is_entered: reactive[bool] = reactive(False, bindings=True)

    @property
    def is_on(self) -> bool | None:
        """On or off; None for `null` and for a wrong word."""
        # By the rules of the file, in which `yes` and `off` are booleans.
        state = scalar(self.resolved or self.value or self.fallback)
        return state if isinstance(state, bool) else None

    def show(self, view: FieldView) -> None:
        super().show(view)
        self.resolved = view.resolved

    def render(self) -> Content:
        """A box and a word, readable without colour; dim if it is the default."""
        is_on, text = self.is_on, sanitize(self.shown)
        mark, word = ("[–]", text) if is_on is None else ("[x]", "on") if is_on else ("[ ]", "off")
        tone = "$muted" if not self.value else "$success" if is_on else "" if is_on is False else "$warning"
        note = f"  {sanitize(self.value)}" if self.resolved else ""
        whole = Content.assemble((f"{mark} {word}", tone), (note, "$muted"))
        return Content(whole.plain) if self.has_focus else whole

    def action_turn_over(self) -> None:
        """Toggle it; if it is neither on nor off, turn it on."""
        self.is_entered = True
        self.pick("false" if self.is_on else "true")

    def action_clear(self) -> None:
        """Reset to the default."""
        self.pick("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A switch that merely has the focus cannot be reset."""
        return self.is_entered or action != "clear"

    def on_blur(self) -> None:
        self.is_entered = False

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_turn_over()
