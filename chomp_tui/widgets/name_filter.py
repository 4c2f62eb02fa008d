"""A line that filters a list by name."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class NameFilter(Input):
    """Hidden until the user opens it; visible as long as it filters, so that the user sees why rows are missing.

    Args:
        listing: the id of the list, which gets the focus back.
    """

    def __init__(self, *, listing: str, id: str, placeholder: str = "part of a name") -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self._listing = listing
        self.display = False

    def allow_focus(self) -> bool:
        # A screen focuses the first widget that allows it, also one that is hidden, which would take all keys.
        return self.display and super().allow_focus()

    def lets_through(self, name: str) -> bool:
        """Whether a row with this name is shown."""
        return self.needle.lower() in name.lower()

    @property
    def needle(self) -> str:
        """The text to look for; empty shows all."""
        return self.value.strip()

    def ask(self) -> None:
        """Show it and focus it."""
        self.display = True
        self.focus()

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
