"""A list of rows in columns: selected by key, columns chosen by width, only changed lines are redrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from chomp.record.formatting import one_line
from chomp_tui.theme import TONES
from chomp_tui.widgets.scrolling import scroll_now
from chomp_tui.widgets.selecting import selectable

# Colours of tones: of states, and of other texts; `strong` is bold.
COLOURS = {**TONES, "muted": "$muted", "accent": "$accent", "curve": "$chart-smooth"}
# Texts with their tones; the tone "" is plain.
Cell = tuple[tuple[str, str], ...]
MARK = "▸ "
EXTRA = 5
GAP = 2


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: which cell of a row it shows.
        title: its heading.
        width: cells it needs at least.
        grow: its share of the cells that are left over.
        rank: columns of lower rank get room first; one that finds none is left out.
        right: whether its cells are right-aligned.
        middle: whether a text that is too long loses its middle instead of its end.
        whole: whether it follows its longest text: it leaves to others what it does not need, and what is left over
            goes to it first.
        comfort: cells that it has, if its longest text needs them, before columns of rank EXTRA or more get any.
    """

    key: str
    title: str
    width: int
    grow: int = 0
    rank: int = 0
    right: bool = False
    middle: bool = False
    whole: bool = False
    comfort: int = 0


@dataclass(frozen=True)
class Row:
    """One line; a column without a cell stays empty."""

    key: str
    cells: Mapping[str, Cell]


def cell(text: str, tone: str = "") -> Cell:
    """A cell of one text, sanitized."""
    return ((one_line(text), tone),)


def fit_columns(
    columns: Sequence[Column], width: int, longest: Mapping[str, int] | None = None
) -> list[tuple[Column, int]]:
    """The columns that have room in `width` cells, each with its own width; `longest` are the cells of their texts."""
    longest = longest or {}
    chosen: set[str] = set()
    for column in sorted(columns, key=lambda column: column.rank):
        wider = [other for other in columns if other.key in chosen or other is column]
        if column.rank >= EXTRA:
            wider = [_comfortable(other, longest) for other in wider]
        if not chosen or _needed(wider) <= width:
            chosen.add(column.key)
    # Apart from comfort the choice depends on the width alone, so that columns do not come and go with texts.
    shown = [_narrowed(column, longest) for column in columns if column.key in chosen]
    spare = max(0, width - _needed(shown))
    widths = {column.key: column.width for column in shown}
    # A number that is cut is another number; a name that is cut is still one.
    for column in sorted(shown, key=lambda column: not column.right):
        if column.whole:
            more = min(spare, max(0, longest.get(column.key, 0) - column.width))
            widths[column.key] += more
            spare -= more
    # Columns whose texts are whole do not grow, unless no other column does.
    growing = [column for column in shown if column.grow and not column.whole] or shown
    shares = sum(column.grow for column in growing)
    for column in growing:
        widths[column.key] += spare * column.grow // shares if shares else 0
    return [(column, widths[column.key]) for column in shown]


def _comfortable(column: Column, longest: Mapping[str, int]) -> Column:
    return replace(column, width=max(column.width, min(column.comfort, longest.get(column.key, 0))))


def _narrowed(column: Column, longest: Mapping[str, int]) -> Column:
    """A column that follows its texts, no wider than they need."""
    if not column.whole or column.key not in longest:
        return column
    return replace(column, width=min(column.width, max(longest[column.key], cell_len(column.title))))


def _needed(columns: Sequence[Column]) -> int:
    return len(MARK) + sum(column.width for column in columns) + GAP * (len(columns) - 1)


def fit_text(text: str, width: int, *, middle: bool = False) -> str:
    """`text` in at most `width` cells; an ellipsis marks what is left out, at the end or in the middle."""
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    tail = set_cell_size(text[::-1], (width - 1) * 2 // 3)[::-1].lstrip() if middle else ""
    return set_cell_size(text, width - 1 - cell_len(tail)).rstrip() + "…" + tail


class Listing(ScrollView, can_focus=True):
    """The list. Posts `Selected` when another row is selected and `Opened` when a row is clicked twice.

    Args:
        columns: what a row shows, from left to right.
        head: whether the first line names the columns.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "edge(0)", show=False),
        Binding("end", "edge(1)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--head",
        "listing--cursor",
        "listing--mark",
        "listing--strong",
        *(f"listing--{tone}" for tone in COLOURS),
    }
    DEFAULT_CSS = """
    Listing { overflow-x: hidden; overflow-y: auto; background: $surface; scrollbar-size-vertical: 1; }
    Listing > .listing--head { color: $muted; text-style: bold; }
    Listing > .listing--cursor { background: $panel; }
    Listing > .listing--mark { color: $accent; text-style: bold; }
    Listing:focus > .listing--cursor { background: $primary 30%; text-style: bold; }
    Listing > .listing--live { text-style: bold; }
    Listing > .listing--strong { text-style: bold; }
    """ + "\n".join(f"Listing > .listing--{tone} {{ color: {one}; }}" for tone, one in COLOURS.items())

    class Selected(Message):
        """Another row is selected, or none (None)."""

        def __init__(self, listing: Listing, key: str | None) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

        @property
        def control(self) -> Listing:
            return self.listing

    class Opened(Message):
        """The selected row was clicked."""

        def __init__(self, listing: Listing, key: str) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

        @property
        def control(self) -> Listing:
            return self.listing

    class HeadClicked(Message):
        """The title of a column was clicked."""

        def __init__(self, listing: Listing, column: str) -> None:
            super().__init__()
            self.listing = listing
            self.column = column

        @property
        def control(self) -> Listing:
            return self.listing

    def __init__(self, columns: Sequence[Column], *, head: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._head = int(head)
        self._rows: list[Row] = []
        self._selected: str | None = None
        self._longest: dict[str, int] = {}

    # What is shown ---------------------------------------------------------------------

    @property
    def selected(self) -> str | None:
        """Key of the selected row; None in an empty list."""
        return self._selected

    @property
    def keys(self) -> list[str]:
        """The keys of all rows, in order."""
        return [row.key for row in self._rows]

    def show_columns(self, columns: Sequence[Column]) -> None:
        """Replace the columns."""
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self.refresh()

    def show(self, rows: Sequence[Row]) -> None:
        """Replace the rows; the selection stays on its key, or on its place where the key is gone."""
        place = self._index(self._selected)
        old, self._rows = self._rows, list(rows)
        longest = {column.key: _longest(rows, column.key) for column in self._columns if column.whole}
        if longest != self._longest:
            self._longest = longest
            self.refresh()
        self.virtual_size = Size(self.size.width, len(self._rows) + self._head)
        for index in range(max(len(old), len(self._rows))):
            before, after = _at(old, index), _at(self._rows, index)
            if before is not after and before != after:
                self.refresh_line(index + self._head)
        if self._index(self._selected) is None:
            self._select_index(min(place or 0, len(self._rows) - 1) if self._rows else None)
        elif self._index(self._selected) != place:
            # It moved: keep it in view.
            self._reveal()

    @property
    def keys_in_view(self) -> list[str]:
        """The keys of the rows in view."""
        top = self.scroll_offset.y
        return [row.key for row in self._rows[top : top + max(0, self.size.height - self._head)]]

    def update(self, rows: Iterable[Row]) -> None:
        """Replace rows that are there by newer ones with the same keys."""
        newer = {row.key: row for row in rows}
        for index, row in enumerate(self._rows) if newer else ():
            after = newer.get(row.key, row)
            if after is not row and after != row:
                self._rows[index] = after
                self.refresh_line(index + self._head)

    def select(self, key: str) -> bool:
        """Select a row by its key; False if there is none."""
        index = self._index(key)
        if index is not None:
            self._select_index(index)
        return index is not None

    def _index(self, key: str | None) -> int | None:
        return next((index for index, row in enumerate(self._rows) if row.key == key), None)

    def _select_index(self, index: int | None) -> None:
        key = self._rows[index].key if index is not None else None
        if key == self._selected:
            return
        before = self._index(self._selected)
        self._selected = key
        for line in (before, index):
            if line is not None:
                self.refresh_line(line + self._head)
        self._reveal()
        self.post_message(self.Selected(self, key))

    def _reveal(self) -> None:
        """Scroll so that the selected row is in view."""
        index, height, top = self._index(self._selected), self.size.height - self._head, self.scroll_offset.y
        if index is None or height <= 0:
            return
        if index < top:
            scroll_now(self, index)
        elif index >= top + height:
            scroll_now(self, index - height + 1)

    # Keys and mouse --------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """One row up or down."""
        if self._rows:
            place = self._index(self._selected) or 0
            self._select_index(max(0, min(len(self._rows) - 1, place + by)))

    def action_page(self, by: int) -> None:
        """One screenful up or down."""
        self.action_move(by * max(1, self.size.height - 2))

    def action_edge(self, last: int) -> None:
        """To the first row, or to the last."""
        self.action_move(len(self._rows) * (1 if last else -1))

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        if self._head and offset is not None and offset.y == 0:
            event.stop()
            self._click_head(offset.x)
            return
        index = offset.y - self._head + self.scroll_offset.y if offset is not None and offset.y >= self._head else -1
        if not 0 <= index < len(self._rows):
            return
        event.stop()
        if self._rows[index].key == self._selected and event.chain > 1:
            self.post_message(self.Opened(self, self._rows[index].key))
        self._select_index(index)

    def _click_head(self, x: int) -> None:
        end = len(MARK)
        for column, width in fit_columns(self._columns, self.scrollable_content_region.width, self._longest):
            end += width
            if x < end:
                self.post_message(self.HeadClicked(self, column.key))
                return
            end += GAP

    # Drawing ---------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._rows) + self._head)
        self.call_after_refresh(self._reveal)

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        number = y if y < self._head else y + self.scroll_offset.y
        if number >= len(self._rows) + self._head:
            return Strip.blank(self.scrollable_content_region.width, self.rich_style)
        return selectable(self, self._numbered(number), number)

    def _numbered(self, number: int) -> Strip:
        """One line of the whole list, heading included."""
        width, base = self.scrollable_content_region.width, self.rich_style
        if number < self._head:
            style = base + self.get_component_rich_style("listing--head", partial=True)
            cells = {column.key: cell(column.title) for column in self._columns}
            return self._line(cells, width, style, mark=False)
        row = self._rows[number - self._head]
        is_selected = row.key == self._selected
        if is_selected:
            base += self.get_component_rich_style("listing--cursor")
        return self._line(row.cells, width, base, mark=is_selected)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = [self._numbered(number).text.rstrip() for number in range(len(self._rows) + self._head)]
        return selection.extract("\n".join(lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def _line(self, cells: Mapping[str, Cell], width: int, base: Style, *, mark: bool) -> Strip:
        marked = base + self.get_component_rich_style("listing--mark", partial=True)
        parts = [Segment(MARK if mark else " " * len(MARK), marked)]
        for number, (column, room) in enumerate(fit_columns(self._columns, width, self._longest)):
            if number:
                parts.append(Segment(" " * GAP, base))
            parts += self._cell(cells.get(column.key, ()), room, base, column)
        return Strip(parts).adjust_cell_length(width, base)

    def _cell(self, content: Cell, width: int, base: Style, column: Column) -> list[Segment]:
        left = width
        parts: list[Segment] = []
        for text, tone in content:
            # Of several texts, the later ones explain the first; after one that is cut there is none.
            if parts and parts[-1].text.endswith("…"):
                break
            fitted = fit_text(text, left, middle=column.middle and len(content) == 1)
            left -= cell_len(fitted)
            style = base + self.get_component_rich_style(f"listing--{tone}", partial=True) if tone else base
            parts.append(Segment(fitted, style))
        blank = Segment(" " * left, base)
        return [blank, *parts] if column.right else [*parts, blank]


def _longest(rows: Sequence[Row], key: str) -> int:
    """The cells that the longest text of a column needs."""
    return max((sum(cell_len(text) for text, _ in row.cells.get(key, ())) for row in rows), default=0)


def _at(rows: Sequence[Row], index: int) -> Row | None:
    return rows[index] if index < len(rows) else None
