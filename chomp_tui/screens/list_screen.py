"""What the home and the checkpoints screen share: a name filter, a list that follows the disk, and details."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from chomp.record.formatting import sanitize
from chomp_tui.platform.poller import Poller
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.widgets.detail import Detail
from chomp_tui.widgets.listing import Column, Listing, Row
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.update_if_changed import set_text, set_title


class ListScreen(ConsoleScreen):
    """A list with details of the selected row.

    Subclasses give `LIST` (the list's id), `COLUMNS`, `TICK_SECONDS` (between two updates of the ages), `FILTER` (what
    to type into the filter), and implement `follow`, `detail`, and `rows` and `empty_text`, or `chosen`.

    Attributes:
        found: what the follower delivered last; its `problem` is one sentence if nothing can be read.
        follower: reads the disk in a thread, with `start`, `stop` and `pause`; None before mount.
    """

    LIST: ClassVar[str]
    COLUMNS: ClassVar[tuple[Column, ...]]
    TICK_SECONDS: ClassVar[float]
    FILTER: ClassVar[str] = "part of a name"

    class Changed(Message):
        """The follower found something new."""

        def __init__(self, found: Any) -> None:
            super().__init__()
            self.found = found

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ListScreen.Changed)

    found: Any
    follower: Poller[Any] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._has_looked = False

    def follow(self, deliver: Callable[[Any], None]) -> Poller[Any]:
        """The follower, not started yet; it calls `deliver` in its thread."""
        raise NotImplementedError

    def rows(self, now: float) -> Sequence[tuple[str, Row]]:
        """All rows, each with the name that the filter compares; `now` is Unix time."""
        raise NotImplementedError

    def empty_text(self) -> Content:
        """What to show in place of an empty list."""
        raise NotImplementedError

    def detail(self, width: int) -> tuple[str, Content]:
        """Title and text of the details, in lines of `width` cells."""
        raise NotImplementedError

    @property
    def is_ready(self) -> bool:
        return self._has_looked

    @property
    def listing(self) -> Listing:
        return self.query_one(f"#{self.LIST}", Listing)

    @property
    def height_beside(self) -> int:
        """Lines of the details where they are beside the list; 0 where they are below it, with little room."""
        return self.query_one("#list-detail").size.height if self.has_class("-wide") else 0

    def compose_body(self) -> ComposeResult:
        with Container(id=self.MODE):
            with Vertical(id="list-panel", classes="panel"):
                yield NameFilter(listing=self.LIST, id="list-filter", placeholder=self.FILTER)
                yield from self.compose_above()
                yield Static("", id="list-empty")
                yield Listing(self.COLUMNS, id=self.LIST)
            with VerticalScroll(id="list-detail", classes="panel", can_focus=False):
                yield Detail(id="list-facts")
            yield from self.compose_below()

    def compose_above(self) -> Sequence[Widget]:
        """Lines between the filter and the list."""
        return ()

    def compose_below(self) -> Sequence[Widget]:
        """Further panels."""
        return ()

    def on_mount(self) -> None:
        self.query_one("#list-empty").display = False
        self.follower = self.follow(lambda found: self.post_safely(self.Changed(found)))
        self.follower.start()
        self.set_interval(self.TICK_SECONDS, self._tick)
        self.listing.focus()

    def on_unmount(self) -> None:
        if self.follower is not None:
            self.follower.stop()

    def on_screen_suspend(self) -> None:
        if self.follower is not None:
            self.follower.pause(True)

    def on_screen_resume(self) -> None:
        if self.follower is not None:
            self.follower.pause(False)

    # Drawing ---------------------------------------------------------------------------

    def on_list_screen_changed(self, message: Changed) -> None:
        self.accept(message.found)

    def accept(self, found: Any) -> None:
        """Show what the follower found."""
        self.found, self._has_looked = found, True
        self.draw()

    def on_resize(self) -> None:
        # The content depends on the width, and Textual sets the screen's width classes after this event.
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        if self.is_current and self._has_looked:
            self.draw()

    def _tick(self) -> None:
        if self.is_current and self._has_looked:
            self.tick(time.time())

    def tick(self, now: float) -> None:
        """Update what changes with the clock alone; `now` is Unix time."""
        self.draw()

    def draw(self) -> None:
        """Update list and details."""
        rows, instead = self.chosen(time.time())
        self.listing.show(rows)
        self.listing.display = bool(rows)
        empty = self.query_one("#list-empty", Static)
        empty.display = not rows
        if not rows:
            problem = self.found.problem
            set_text(empty, Content.styled(sanitize(problem), "$error") if problem else instead)
        self.draw_detail()

    def chosen(self, now: float) -> tuple[Sequence[Row], Content]:
        """The rows that the filter lets through, and what to show in place of none."""
        every, name_filter = self.rows(now), self.query_one(NameFilter)
        rows = [row for name, row in every if name_filter.lets_through(name)]
        if not every:
            return rows, self.empty_text()
        return rows, Content(f"no run has “{sanitize(name_filter.needle)}” in its name; Esc shows all")

    def draw_detail(self) -> None:
        """Update the details of the selected row."""
        facts = self.query_one(Detail)
        title, text = self.detail(facts.size.width)
        set_title(self.query_one("#list-detail"), title)
        set_text(facts, text)

    def on_listing_selected(self) -> None:
        self.draw_detail()

    def on_detail_rewidened(self) -> None:
        self.draw_detail()

    # Filter ----------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Show only runs whose name contains a text."""
        self.query_one(NameFilter).ask()

    def on_input_changed(self) -> None:
        self.draw()

    def go_back(self) -> None:
        if not self.query_one(NameFilter).clear_away():
            super().go_back()
