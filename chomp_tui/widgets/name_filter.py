"""Lines that are hidden until the user asks for them, to find or to filter."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class HiddenInput(Input):
    """Hidden until it is asked for."""

    def __init__(self, *, id: str, placeholder: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self.display = False

    def allow_focus(self) -> bool:
        # A screen focuses the first widget that allows it, also one that is hidden, which would take all keys.
        return self.display and super().allow_focus()

    def ask(self) -> None:
        """Show it and focus it."""
        self.display = True
        self.focus()

    def put_away(self) -> None:
        """Hide it, empty, without a message."""
        with self.prevent(Input.Changed):
            self.value = ""
        self.display = False


class NameFilter(HiddenInput):
    """Visible as long as it filters, so that the user sees why rows are missing.

    Args:
        listing: the id of the list, which gets the focus back.
    """

    def __init__(self, *, listing: str, id: str, placeholder: str = "part of a name") -> None:
        super().__init__(id=id, placeholder=placeholder)
        self._listing = listing

    def lets_through(self, name: str) -> bool:
        """Whether a row with this name is shown."""
        return self.needle.lower() in name.lower()

    @property
    def needle(self) -> str:
        """The text to look for; empty shows all."""
        return self.value.strip()

    def clear_away(self) -> bool:
        """Show all rows again and focus the list; returns whether it was visible."""
        was_shown = self.display
        self.value = ""
        self._to_list()
        return was_shown

    async def action_submit(self) -> None:
        self._to_list()

    def on_blur(self, event: events.Blur) -> None:
        self.display = bool(self.needle)

    def _to_list(self) -> None:
        self.display = bool(self.needle)
        self.screen.query_one(f"#{self._listing}").focus()
