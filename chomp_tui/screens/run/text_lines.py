"""Text of which only the cells that changed are written to the terminal again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from chomp_tui.widgets.update_if_changed import keeps_size, same


class TextLines(Widget):
    """Shows a text literally. A number that changes in place costs its own cells; where lines wrap, all is drawn."""

    def __init__(self, *, id: str | None = None) -> None:
        self._text = Content("")
        self._lines: Sequence[Content] = [self._text]
        self._strips: dict[int, Strip] = {}
        self._strips_width = -1
        self._draws_rows = False
        super().__init__(id=id, markup=False)
        # Looking for links takes as long as drawing.
        self.set_reactive(Widget.auto_links, False)

    def show(self, text: Content) -> None:
        """Replace the text."""
        before, lines = self._text, self._lines
        if same(text, before):
            return
        self._text, self._lines = text, text.split(allow_blank=True)
        # Only if the drawn text has one row for each line, too: below a wrapped line, row numbers differ.
        stays = self._draws_rows and len(lines) == len(self._lines) and keeps_size(self, before, text)
        if stays and self._is_row_by_row():
            changed = [row for row, pair in enumerate(zip(lines, self._lines, strict=True)) if not same(*pair)]
            # Without a region, the whole widget would be drawn.
            if regions := [self._redrawn(row) for row in changed]:
                self.refresh(*regions)
        else:
            self._strips.clear()
            self.refresh(layout=not keeps_size(self, before, text))

    def _redrawn(self, row: int) -> Region:
        """Draw a row anew; returns the cells that look different."""
        before, after = self._strips.pop(row, None), self._strip(row)
        if before is None:
            return Region(0, row, self._strips_width, 1)
        start, end = _cells_of_same(zip(before, after, strict=False)), max(before.cell_length, after.cell_length)
        if before.cell_length == after.cell_length:
            end -= _cells_of_same(zip(reversed(before), reversed(after), strict=False))
        # Nothing to write where only what cannot be seen differs.
        return Region(start, row, max(end - start, 0), 1)

    def _strip(self, row: int) -> Strip:
        if row not in self._strips:
            strips = Visual.to_strips(self, self._lines[row], self._strips_width, 1, self.visual_style)
            self._strips[row] = Strip.join(strips)
        return self._strips[row]

    def render(self) -> Content:
        return self._text

    def _is_row_by_row(self) -> bool:
        """Whether each line is a row of its own, drawn for the width that there is, and none of it is selected."""
        width = self.content_size.width
        if width != self._strips_width:
            self._strips.clear()
            self._strips_width = width
        return self.text_selection is None and all(line.cell_length <= width for line in self._lines)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._draws_rows = self._is_row_by_row()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        if not self._draws_rows:
            return super().render_line(y)
        if y >= len(self._lines):
            return Strip.blank(self._strips_width, self.visual_style.rich_style)
        return self._strip(y).apply_offsets(0, y)

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()


def _cells_of_same(pairs: Iterable[tuple[Segment, Segment]]) -> int:
    """The cells of the segments before the first that looks different."""
    cells = 0
    for one, other in pairs:
        if one.text != other.text or one.style != other.style:
            break
        cells += one.cell_length
    return cells
