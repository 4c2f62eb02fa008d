"""The base of all full screens: top bar, footer, Esc."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.content import Content
from textual.message import Message
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from chomp_tui.widgets.key_bar import KeyBar
from chomp_tui.widgets.listing import Listing
from chomp_tui.widgets.too_small import TooSmall
from chomp_tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from chomp_tui.state import Console


class ConsoleScreen(Screen[None]):
    """A full screen; subclasses give `MODE`, `PURPOSE` (for help) and `compose_body`."""

    MODE: ClassVar[str] = ""
    PURPOSE: ClassVar[str] = ""

    # Textual paints the whole screen anew when the focus moves; the two widgets do that themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    @property
    def chomp(self) -> Console:
        """The application, as far as screens know it."""
        return cast("Console", self.app)

    @property
    def is_ready(self) -> bool:
        """Whether the screen shows what it was opened for, so that keys act on it."""
        return self.is_mounted

    def compose(self) -> ComposeResult:
        yield TopBar(self.MODE, read_only=self.chomp.state.read_only)
        yield from self.compose_body()
        yield KeyBar()
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        """The widgets between top bar and footer."""
        raise NotImplementedError

    def set_context(self, text: str | Content) -> None:
        """Show one line of context at the top right."""
        self.query_one(TopBar).set_context(text)

    def selected(self, listing: str) -> str | None:
        """Key of the selected row; None if no row is selected or the list is not mounted yet."""
        found = next(iter(self.query(f"#{listing}").results(Listing)), None)
        return found.selected if found is not None else None

    def offers(self, action: str) -> bool:
        """Whether the footer shows an action now; its key always works, if only to show why it is not possible."""
        return True

    def label_of(self, action: str, label: str) -> str:
        """What the footer calls an action now; `label` is its name in the table."""
        return label

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """Those of the screen and its focus; actions that are not offered now are hidden from the footer."""
        found = super().active_bindings
        for key, active in found.items():
            binding = active.binding
            if active.node is self:
                label = self.label_of(binding.action, binding.description)
                # Textual's panel of keys leaves out what is `system`, and so does the footer.
                hidden = binding.system or not self.offers(binding.action)
                shown = binding.show and not hidden
                changed = dataclasses.replace(binding, show=shown, description=label, system=hidden)
                found[key] = active._replace(binding=changed)
        return found

    def post_safely(self, message: Message) -> None:
        """Post from a thread; does nothing once the screen or its event loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.post_message(message)

    def action_suspend(self) -> None:
        """Give the terminal back to the shell until the user continues the console."""
        self.app.action_suspend_process()

    def go_back(self) -> None:
        """Go back one level; a screen with levels of its own closes those first."""
        self.chomp.action_show_screen("home")
