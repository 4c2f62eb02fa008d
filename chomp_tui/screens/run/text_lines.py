"""Text of which only the rows that changed are drawn again."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from chomp_tui.widgets.update_if_changed import keeps_size, same


class TextLines(Widget):
    """Shows a text literally. Numbers that change in place cost their own rows; where lines wrap, all is drawn."""

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
            for row in changed:
                self._strips.pop(row, None)
            self.refresh(*(Region(0, row, self._strips_width, 1) for row in changed))
        else:
            self._strips.clear()
            self.refresh(layout=not keeps_size(self, before, text))

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
        if y not in self._strips:
            strips = Visual.to_strips(self, self._lines[y], self._strips_width, 1, self.visual_style)
            self._strips[y] = Strip.join(strips).apply_offsets(0, y)
        return self._strips[y]

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()
