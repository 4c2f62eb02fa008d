"""A line that narrows a list to the runs whose name contains a text."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class NameFilter(Input):
    """Hidden until it is asked for; it stays in sight as long as it narrows the list, so that nothing seems missing.

    Args:
        listing: the id of the list, which gets the focus back.
    """

    def __init__(self, *, listing: str, id: str) -> None:
        super().__init__(placeholder="part of a name", id=id, compact=True)
        self._listing = listing
        self.display = False

    def lets_through(self, name: str) -> bool:
        """Whether a run with this name is shown."""
        return self.needle.lower() in name.lower()

    @property
    def needle(self) -> str:
        """The text as a person wrote it; empty where everything is let through."""
        return self.value.strip()

    def ask(self) -> None:
        """Show it and type into it."""
        self.display = True
        self.focus()

    def clear_away(self) -> bool:
        """Let everything through again and go back to the list; returns whether it was in sight."""
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
