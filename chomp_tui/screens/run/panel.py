"""A panel of text: scrolled by keys, selectable, drawn again only when its text changed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content

from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.text_lines import TextLines


class TextPanel(VerticalScroll, can_focus=True):
    """Shows what `text` makes of a snapshot.

    Args:
        title: at the border.
    """

    def __init__(self, title: str, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = title

    def compose(self) -> ComposeResult:
        yield TextLines()

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show a snapshot."""
        self.query_one(TextLines).show(self.text(snapshot, max(1, self.scrollable_content_region.width)))

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        """The panel's text for a snapshot, in lines of at most `width` cells where it is laid out."""
        raise NotImplementedError


def bar(share: float, width: int) -> tuple[str, str]:
    """A bar of `width` cells in halves: its filled part, and the rest. What is there at all shows."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    if share > 0:
        halves = max(1, halves)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return filled, "╌" * (width - len(filled))
