"""A line of text in the form. Keys edit it only after Enter or a click: until then, digits switch screens."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import Input

from chomp_tui import keys


class TextField(Input):
    """Enter or a click starts an edit; Enter, or leaving the field, ends it. The class `-editing` shows it."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("line")]
    is_editing: reactive[bool] = reactive(False, toggle_class="-editing")

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return self.is_editing and super().check_consume_key(key, character)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Textual's own actions change the text or move the cursor in it."""
        return self.is_editing or action == "edit"

    async def action_edit(self) -> None:
        """Start an edit with the cursor at the end, or end it."""
        self.is_editing = not self.is_editing
        if self.is_editing:
            self.action_end()
        else:
            await self.action_submit()

    def on_key(self, event: events.Key) -> None:
        if not self.is_editing:
            event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        if not self.is_editing:
            event.prevent_default()

    def on_mouse_down(self) -> None:
        self.is_editing = True

    def on_blur(self) -> None:
        # A terminal window that loses the focus takes it from the field, too, and gives it back later.
        if self.app.app_focus:
            self.is_editing = False
