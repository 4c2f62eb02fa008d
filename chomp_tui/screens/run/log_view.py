"""The end of the log: literal text, filtered, followed while its end is in view."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from chomp.record.formatting import one_line, plural, sanitize
from chomp_tui.screens.run.log_lines import rows_of, tone
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.scrolling import scroll_now
from chomp_tui.widgets.update_if_changed import set_title

MOST_LINES = 5_000
LONGEST_LINE = 2_000
# Painted rows that are kept for the next painting.
MOST_STRIPS = 500


class LogView(ScrollView, can_focus=True):
    """The log; long lines are wrapped where it is alone. Scrolled to its end it follows, End goes there.

    Attributes:
        brief: whether lines are short, because other panels are shown beside it.
    """

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {"logview--bad", "logview--warn", "logview--none"}

    def __init__(self, *, id: str) -> None:
        self._strips: dict[int, Strip] = {}
        super().__init__(id=id)
        self.wanted, self.brief = "", True
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        # Shown rows: a piece of a line and the tone of the line. And how many rows each shown line takes.
        self._rows: list[tuple[str, str]] = []
        self._heights: deque[int] = deque()
        self._new: deque[str] = deque(maxlen=MOST_LINES)
        self._state: tuple[str, int, bool] | None = None
        self._follows, self._is_scrolled = True, False
        # The sizes for which rows were drawn last: what moves under others is moved by a new layout, not by the user.
        self._drawn_at: tuple[Size, Size] | None = None

    @property
    def count(self) -> int:
        """The lines that are shown."""
        return len(self._heights)

    @property
    def text(self) -> str:
        """The shown rows."""
        return "\n".join(row for row, _ in self._rows)

    def last_lines(self, number: int) -> tuple[str, ...]:
        """The newest lines, filtered or not."""
        return tuple(self._lines)[-number:]

    def add(self, lines: Iterable[str], *, restarted: bool = False) -> None:
        """Take lines in; they are drawn with the next `draw`."""
        if restarted:
            self._lines.clear()
            self._new.clear()
            self._state = None
        shown = [sanitize(line[:LONGEST_LINE]).replace("\n", " ").expandtabs(4) for line in lines]
        self._lines.extend(shown)
        self._new.extend(shown)

    def clear(self) -> None:
        """Forget all lines, and the filter."""
        self.wanted, self._follows = "", True
        self.add((), restarted=True)

    def filter(self, wanted: str) -> None:
        """Show only lines that contain a text, in any case; an empty text shows all."""
        self.wanted, self._follows = wanted, True
        self.draw()

    def draw(self) -> None:
        """Show what has come in."""
        width = self.scrollable_content_region.width
        state = (self.wanted, width, self.brief)
        if width <= 0 or (state == self._state and not self._new):
            return
        if state != self._state or len(self._new) >= MOST_LINES:
            self._rows, self._heights, self._new = [], deque(), self._lines.copy()
            self._strips.clear()
        self._state = state
        self._append(self._new, width)
        self._new.clear()
        self._resize_to(Size(width, len(self._rows)))
        self._follow()
        self.refresh(self.size.region)

    def _follow(self) -> None:
        """Go to the end, if it was in view; the user scrolls from here."""
        self._drawn_at = self.container_size, self.virtual_size
        if self._follows:
            scroll_now(self, self.max_scroll_y)

    def _resize_to(self, size: Size) -> None:
        """Take another virtual size; the screen is laid out again only if the scroll bar appears or disappears."""
        if self.show_vertical_scrollbar != (size.height > self.container_size.height):
            self.virtual_size = size
            return
        self.set_reactive(LogView.virtual_size, size)
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.window_virtual_size = size.height

    def _append(self, lines: Iterable[str], width: int) -> None:
        """Add those of these lines that pass the filter; drop the oldest beyond MOST_LINES."""
        wanted = self.wanted.casefold()
        for line in lines:
            if wanted in line.casefold():
                rows, colour = rows_of(line, width, brief=self.brief), tone(line)
                self._rows += [(row, colour) for row in rows]
                self._heights.append(len(rows))
        gone = sum(self._heights.popleft() for _ in range(len(self._heights) - MOST_LINES))
        del self._rows[:gone]
        if gone or len(self._strips) > MOST_STRIPS:
            self._strips.clear()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._drawn_at == (self.container_size, self.virtual_size):
            at_end = new_value >= self.max_scroll_y
            self._follows = at_end or (self._follows and not self._is_scrolled)
            self._is_scrolled = self._is_scrolled and not at_end

    def release_anchor(self) -> None:
        """Textual calls this where the user, and not a layout, scrolls."""
        super().release_anchor()
        self._is_scrolled = True

    def on_resize(self) -> None:
        self.draw()
        self._follow()

    def render_line(self, y: int) -> Strip:
        index, width = self.scroll_offset.y + y, self.size.width
        if index >= len(self._rows):
            if y == 0 and not self._rows:
                return self._nothing(width)
            return Strip.blank(width, self.rich_style)
        strip = self._strips.get(index)
        # Textual paints a known strip faster when it has only moved up a row.
        if strip is None or strip.cell_length != width:
            strip = self._strips[index] = self._strip(index, width)
        return strip

    def _nothing(self, width: int) -> Strip:
        """What to read where there is no line."""
        text = "No line contains that." if self.wanted else "The engine has printed nothing."
        style = self.rich_style + self.get_component_rich_style("logview--none", partial=True)
        return Strip([Segment(text, style)]).adjust_cell_length(width, self.rich_style)

    def _strip(self, index: int, width: int) -> Strip:
        base = self.rich_style
        row, colour = self._rows[index]
        style = base + self.get_component_rich_style(f"logview--{colour}", partial=True) if colour else base
        parts = [Segment(row, style)]
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(index)) is not None:
            start, end = span[0], len(row) if span[1] == -1 else span[1]
            chosen = style + self.screen.get_component_rich_style("screen--selection")
            parts = [Segment(row[:start], style), Segment(row[start:end], chosen), Segment(row[end:], style)]
        return Strip(parts).adjust_cell_length(width, base).apply_offsets(0, index)

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self._strips.clear()
        self.refresh()


class LogPanel(Vertical):
    """The log under the line that filters it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = "Log"

    def compose(self) -> ComposeResult:
        yield NameFilter(listing="log-lines", id="log-filter", placeholder="text in a line")
        yield LogView(id="log-lines")

    def draw(self, *, alone: bool) -> None:
        """Show what has come in; whole lines where no other panel is shown."""
        log = self.query_one(LogView)
        log.brief = not alone
        log.draw()
        set_title(self, "Log" if not log.wanted else f"Log with “{_short(log.wanted)}”")
        keys = "Esc shows all" if log.wanted else "/ filters" if alone else "/ filters, Enter shows whole lines"
        subtitle = f"{plural(log.count, 'line')} · {keys}"
        # Setting it repaints the panel.
        if subtitle != self.border_subtitle:
            self.border_subtitle = subtitle

    def on_input_changed(self, event: NameFilter.Changed) -> None:
        event.stop()
        self.query_one(LogView).filter(self.query_one(NameFilter).needle)
        self.draw(alone=not self.query_one(LogView).brief)

    def ask(self) -> None:
        """Show the line that filters, and focus it."""
        self.query_one(NameFilter).ask()

    def show_all(self) -> bool:
        """End the filter; returns whether there was one in view."""
        return self.display and self.query_one(NameFilter).clear_away()

    def clear(self) -> None:
        """Forget all lines, and the filter."""
        name_filter = self.query_one(NameFilter)
        with name_filter.prevent(NameFilter.Changed):
            name_filter.value = ""
        name_filter.display = False
        self.query_one(LogView).clear()


def _short(text: str) -> str:
    flat = one_line(text)
    return flat if len(flat) <= 30 else f"{flat[:29]}…"
