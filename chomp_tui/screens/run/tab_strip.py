"""A line of tab names; the board places the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from chomp_tui.keys import PANELS
from chomp_tui.widgets.update_if_changed import set_text

HINT = "n next panel, Alt+digit goes to one "
SHORT_HINT = "n next panel "
# The digits of panels that a key reaches, small.
DIGITS = dict(zip(PANELS, "¹²³⁴⁵⁶⁷⁸⁹", strict=True))


class TabStrip(Static):
    """Names, one of them chosen. Posts `Chosen` when another one is clicked."""

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._state: tuple[object, ...] = ()
        self._ends: list[tuple[int, str]] = []

    def show(self, titles: Mapping[str, str], names: Sequence[str], chosen: str) -> None:
        """Show the tabs `names` under their titles."""
        state = (tuple(titles.items()), tuple(names), chosen, self.size.width)
        if state == self._state:
            return
        self._state = state
        parts: list[Content] = []
        self._ends, end = [], 0
        for name in names:
            text = f"{DIGITS.get(name, ' ')}{titles[name]} "
            parts.append(Content.styled(text, "bold reverse" if name == chosen else "$muted"))
            end += len(text)
            self._ends.append((end, name))
        room = self.size.width - end
        hint = HINT if room > len(HINT) else SHORT_HINT
        if room > len(hint):
            parts.append(Content.styled(hint.rjust(room), "$muted"))
        set_text(self, Content("").join(parts))

    def on_click(self, event: Click) -> None:
        for end, name in self._ends:
            if event.x < end:
                self.post_message(self.Chosen(name))
                return
