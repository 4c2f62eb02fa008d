"""A line of text in the form. Digits edit it only after Enter or a click: until then, they switch screens."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import Input

from chomp_tui import keys


class TextField(Input):
    """Enter, a click, a letter or a paste starts an edit; Enter, or leaving the field, ends it.

    The class `-editing` shows it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("line")]
    is_editing: reactive[bool] = reactive(False, toggle_class="-editing")

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return (self.is_editing or _starts_edit(character)) and super().check_consume_key(key, character)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Textual's own actions change the text or move the cursor in it."""
        return self.is_editing or action == "edit"

    async def action_edit(self) -> None:
        """Start an edit with the cursor at the end, or end it."""
        if self.is_editing:
            self.is_editing = False
            await self.action_submit()
        else:
            self._start()

    def _start(self) -> None:
        if not self.is_editing:
            self.is_editing = True
            self.action_end()

    def on_key(self, event: events.Key) -> None:
        if _starts_edit(event.character):
            self._start()
        elif not self.is_editing:
            event.prevent_default()

    def on_paste(self) -> None:
        self._start()

    def on_mouse_down(self) -> None:
        self.is_editing = True

    def on_blur(self) -> None:
        # A terminal window that loses the focus takes it from the field, too, and gives it back later.
        if self.app.app_focus:
            self.is_editing = False


def _starts_edit(character: str | None) -> bool:
    """Whether a key is text that cannot be a screen's digit."""
    return character is not None and character.isprintable() and not character.isdigit() and not character.isspace()
