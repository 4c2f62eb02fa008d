"""Details of the selected row, wrapped for the panel's width."""

from __future__ import annotations

from textual.events import Resize
from textual.message import Message
from textual.widgets import Static


class Detail(Static):
    """Posts `Rewidened` when its width changes, so that its lines are wrapped again."""

    class Rewidened(Message):
        """The width changed."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id)
        self._width = 0

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._width:
            self._width = event.size.width
            self.post_message(self.Rewidened())
