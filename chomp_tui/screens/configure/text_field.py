"""A value on one line of the form. It is drawn, and an editor takes its place only after Enter or a click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import TextArea

from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import FieldView
from chomp_tui.config.history import new_edit
from chomp_tui.screens.configure.controls import Control
from chomp_tui.screens.configure.literal_text import LiteralTextArea
from chomp_tui.widgets.listing import fit_text


class FieldEditor(LiteralTextArea):
    """A line of text, wrapped where it is too long; Enter accepts it, Esc cancels the edit."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("edit")]

    def __init__(self, text: str, placeholder: str) -> None:
        super().__init__(text, soft_wrap=True, compact=True, highlight_cursor_line=False)
        self.placeholder = Content(placeholder)

    def on_mount(self) -> None:
        self.select_all()

    def reuse(self, text: str, placeholder: str) -> None:
        """Begin another edit."""
        self.placeholder = Content(placeholder)
        self.load_text(text)
        self.select_all()
        self.display = True

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            # Not a line end; the key goes on to its binding.
            event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        """Insert the first line."""
        event.prevent_default()
        event.stop()
        self.replace("".join(event.text.splitlines()[:1]), *self.selection, maintain_selection_offset=False)

    def action_accept(self) -> None:
        """End the edit."""
        self._field.end()

    def action_cancel(self) -> None:
        """Restore the value from before the edit."""
        self._field.cancel()

    def on_blur(self) -> None:
        # A terminal window that loses the focus takes it from the field, too, and gives it back later.
        if self.app.app_focus:
            self._field.end()

    @property
    def is_wrapped(self) -> bool:
        """Whether it has more than one line on the screen."""
        return self.wrapped_document.height > 1

    @property
    def _field(self) -> TextField:
        assert isinstance(self.parent, TextField)
        return self.parent


class TextField(Control):
    """Enter or a click starts an edit with the whole value selected; Enter, or leaving the field, ends it.

    The class `-editing` shows it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("line")]
    is_editing: reactive[bool] = reactive(False, toggle_class="-editing")

    @dataclass
    class Typed(Message):
        """The text has changed during an edit, or the edit has ended with it, or was cancelled."""

        field: TextField
        text: str
        edit: int
        is_over: bool = False
        is_cancelled: bool = False

        @property
        def control(self) -> TextField:
            return self.field

    def __init__(self) -> None:
        super().__init__()
        self._is_long = False
        # Of the newest edit: its number, its newest text, and whether the user has typed at all.
        self._edit, self._newest, self._is_typed = 0, "", False

    def show(self, view: FieldView) -> None:
        super().show(view)
        self._is_long = view.is_long

    @property
    def editor(self) -> FieldEditor | None:
        """The editor during an edit."""
        return next(iter(self.query_children(FieldEditor)), None) if self.is_editing else None

    def render(self) -> Content:
        """The value, without its middle if it is too long; dim if it is the default."""
        text = _lines(self.value) if self._is_long else sanitize(self.shown)
        dim = "" if self.value or self.has_focus else "$muted"
        return Content.styled(fit_text(text, max(1, self.size.width), middle=True), dim)

    async def action_edit(self) -> None:
        """Start an edit."""
        if self.is_editing or self._is_long:
            return
        self._edit, self._newest, self._is_typed = new_edit(), self.value, False
        editor = next(iter(self.query_children(FieldEditor)), None)
        if editor is None:
            editor = FieldEditor(self.value, self.fallback)
            await self.mount(editor)
        else:
            editor.reuse(self.value, self.fallback)
        self.is_editing = True
        # At once: the next key may be here already.
        self.screen.set_focus(editor)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.action_edit()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        text = event.text_area.text
        if self.is_editing and text != self._newest:
            self._newest, self._is_typed = text, True
            self.post_message(self.Typed(self, text, self._edit))

    def take(self) -> Typed | None:
        """End the edit, and give its text; None without one."""
        editor = self.editor
        if editor is None:
            return None
        self.is_editing = False
        if self.screen.focused is editor:
            self.screen.set_focus(self)
        # It is not removed: behind a dialog that opens now, Textual still draws it.
        editor.display = False
        is_typed = self._is_typed or editor.text != self._newest
        return self.Typed(self, editor.text, self._edit, is_over=True, is_cancelled=not is_typed)

    def end(self) -> None:
        """End the edit and post its text."""
        typed = self.take()
        if typed is not None:
            self.post_message(typed)

    def cancel(self) -> None:
        """End the edit and post that it counts for nothing."""
        typed = self.take()
        if typed is not None:
            typed.is_cancelled = True
            self.post_message(typed)


def _lines(text: str) -> str:
    return f"{text.count(chr(92) + 'n') + text.count(chr(10)) + 1} lines: edit in the YAML (F4)"
