"""What all full screens share: top bar, footer, one layer out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import Screen

from chomp_tui.widgets.keybar import KeyBar
from chomp_tui.widgets.toosmall import TooSmall
from chomp_tui.widgets.topbar import TopBar

if TYPE_CHECKING:
    from chomp_tui.app import ChompApp


class ConsoleScreen(Screen[None]):
    """A full screen; subclasses give `MODE`, `PURPOSE` (for help) and `compose_body`."""

    MODE: ClassVar[str] = ""
    PURPOSE: ClassVar[str] = ""

    @property
    def chomp(self) -> ChompApp:
        """The application, typed."""
        return cast("ChompApp", self.app)

    @property
    def is_ready(self) -> bool:
        """Whether keys mean what they will mean once everything is shown."""
        return self.is_mounted

    def compose(self) -> ComposeResult:
        yield TopBar(self.MODE)
        yield from self.compose_body()
        yield KeyBar()
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        """What stands between top bar and footer."""
        raise NotImplementedError

    def say(self, text: str | Content) -> None:
        """Show one line of context at the top right."""
        self.query_one(TopBar).say(text)

    def post_safely(self, message: Message) -> None:
        """Post from a thread; after the end of the screen or of its loop there is nobody to tell."""
        with contextlib.suppress(RuntimeError):
            self.post_message(message)

    def go_back(self) -> None:
        """One layer out; a screen with layers of its own closes those first."""
        self.chomp.action_show_screen("home")
