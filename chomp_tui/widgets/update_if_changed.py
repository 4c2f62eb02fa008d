"""Updates of widgets that repaint only what changed."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from chomp.record.formatting import sanitize


def same(one: Content, other: object) -> bool:
    """Whether two texts look the same; `==` compares characters only."""
    return isinstance(other, Content) and one.plain == other.plain and one.spans == other.spans


def set_text(widget: Static, text: Content) -> None:
    """Replace a widget's text; the screen is laid out again only if the text may need another size."""
    before = widget.content
    if not same(text, before):
        widget.update(text, layout=not (isinstance(before, Content) and keeps_size(widget, before, text)))


def keeps_size(widget: Widget, before: Content, after: Content) -> bool:
    """Whether a widget keeps its size with another text: its size is fixed, or no line of either text wraps."""
    if not widget.styles.auto_dimensions:
        return True
    if widget.styles.is_auto_width or before.plain.count("\n") != after.plain.count("\n"):
        return False
    width = widget.content_size.width
    return all(cell_len(line) <= width for text in (before, after) for line in text.plain.split("\n"))


def set_title(widget: Widget, title: str) -> None:
    """Replace the title at a widget's border; shown literally."""
    content = Content(sanitize(title))
    # Textual repaints for every assignment; what it keeps is markup.
    if widget.border_title != content.markup:
        widget.border_title = content
