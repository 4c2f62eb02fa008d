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
        is_kept = isinstance(before, Content) and keeps_size(widget, before, text)
        widget.update(text, layout=not is_kept)
        if not is_kept:
            widget.call_after_refresh(_lay_out_anew, widget)


def _lay_out_anew(widget: Static) -> None:
    """Give a widget the height of its text.

    Textual counts a request for a layout only if no earlier one waits: a layout of the screen between two updates
    measures the first text, and the second one would keep its height.
    """
    width, height = widget.content_size
    if not (widget.is_attached and widget.styles.is_auto_height and width):
        return
    if widget.get_content_height(widget.container_size, widget.app.size, width) != height:
        widget.refresh(layout=True)


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
