"""Saying something to a widget that it may know already: only what looks other than before is painted."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from chomp.events.text import defused


def same(one: Content, other: object) -> bool:
    """Whether two texts look the same; `==` compares characters only."""
    return isinstance(other, Content) and one.plain == other.plain and one.spans == other.spans


def set_text(widget: Static, text: Content) -> None:
    """Replace a widget's text."""
    if not same(text, widget.content):
        widget.update(text)


def set_title(widget: Widget, title: str) -> None:
    """Replace the title at a widget's border; shown literally."""
    content = Content(defused(title))
    # Textual repaints for every assignment; what it keeps is markup.
    if widget.border_title != content.markup:
        widget.border_title = content
