"""Text that is selected with the mouse, in widgets that draw their rows themselves."""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget


def selectable(widget: Widget, strip: Strip, row: int) -> Strip:
    """`strip`, the widget's line number `row`, made selectable, with the selected part highlighted."""
    selection = widget.text_selection
    span = selection.get_span(row) if selection is not None else None
    if span is None:
        return strip.apply_offsets(0, row)
    width = strip.cell_length
    start, end = min(span[0], width), width if span[1] == -1 else min(span[1], width)
    before, chosen, after = strip.divide([start, end, width])
    style = widget.screen.get_component_rich_style("screen--selection")
    chosen = Strip(Segment.apply_style(chosen, post_style=style), chosen.cell_length)
    return Strip.join([before, chosen, after]).apply_offsets(0, row)
