"""What is known of the selected thing, in lines made for the width that the panel has."""

from __future__ import annotations

from textual.events import Resize
from textual.message import Message
from textual.widgets import Static


class Detail(Static):
    """Posts `Rewidened` whenever it is laid out in another width: what it shows was made for the one before."""

    class Rewidened(Message):
        """The lines are to be made anew."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id)
        self._width = 0

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._width:
            self._width = event.size.width
            self.post_message(self.Rewidened())
