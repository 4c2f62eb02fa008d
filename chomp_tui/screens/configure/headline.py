"""Above the form: whether the configuration is valid, its main figures, and what the run begins with."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from chomp.record.formatting import sanitize
from chomp_tui.config.document import ConfigDocument, Validation


class Headline(Vertical):
    """A verdict at the left, figures at the right if there is room, and below them the origin, if there is one."""

    def __init__(self) -> None:
        super().__init__(id="headline")
        self._sides = (Content(""), Content(""))

    def compose(self) -> ComposeResult:
        yield Static("", id="verdict")
        yield Static("", id="origin")

    def show(self, verdict: Content, figures: Content, origin: str) -> None:
        """Draw all of it.

        Args:
            origin: what the run begins with besides its file; "" for nothing.
        """
        self._sides = (verdict, figures)
        self._draw()
        line = self.query_one("#origin", Static)
        line.display = bool(origin)
        line.update(Content(sanitize(origin)))

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        left, right = self._sides
        width = max(0, self.size.width - 2)
        space = width - left.cell_length - right.cell_length
        line = Content.assemble(left, " " * space, right) if space >= 2 else left.truncate(width, ellipsis=True)
        self.query_one("#verdict", Static).update(line)


def context(document: ConfigDocument, width: int) -> Content:
    """The name of the document, and whether it is modified, for the top of a screen."""
    if width < 100:
        mark, name = "● ", document.path.name if document.path else document.name
    else:
        mark, name = "● modified  ", document.name
    return Content.styled(mark if document.is_modified else "", "$warning") + Content(sanitize(name))


def verdict(check: Validation) -> Content:
    """Whether a configuration is valid; if not, its first problem."""
    if check.loaded is not None:
        hints = f" · {len(check.notes)} hint{'' if len(check.notes) == 1 else 's'}" if check.notes else ""
        return Content.assemble(("✓ valid", "bold $success"), (hints, "$warning"))
    count, first = len(check.problems), check.problems[0]
    text = f"✗ {count} problem{'' if count == 1 else 's'}"
    problem = sanitize(": ".join(part for part in (first.path, first.message) if part))
    return Content.assemble((text, "bold $error"), f"  {problem}")
