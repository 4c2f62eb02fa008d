"""What happens when another program has written the opened file."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Label, Static

from chomp.record.formatting import sanitize
from chomp_tui.config.document import ConfigDocument
from chomp_tui.live.file_watch import OnDisk
from chomp_tui.screens.configure.file_dialogs import Editor, diff_lines
from chomp_tui.widgets.dialogs import Choice, Choose

KEEP = Choice("keep", "k", "Keep editing", "the text on screen stays; saving asks again")
RELOAD = Choice("reload", "r", "Reload", "replace the text on screen with the file; Ctrl+Z restores it")
OVERWRITE = Choice("overwrite", "o", "Overwrite", "write the text on screen to the file")


class Changed(Choose):
    """How the file differs from the text on screen, and what to do; the cursor starts at the answer that keeps both."""

    def __init__(self, document: ConfigDocument, disk: str, choices: Sequence[Choice]) -> None:
        name = document.path.name if document.path else document.name
        super().__init__(f"{name} changed on disk", choices)
        self.add_class("wide")
        self._diff = Content("\n").join(diff_lines(disk, document.text, "on disk", "on screen"))

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Content(sanitize(self._title)), classes="title")
            with VerticalScroll(can_focus=False):
                yield Static(self._diff)
            yield self.options()
            yield Label("a letter, or arrows and Enter; Page Up and Down scroll; Esc cancels", classes="hint")

    def on_key(self, event: events.Key) -> None:
        scroll = self.query_one(VerticalScroll)
        if event.key == "pagedown":
            event.stop()
            scroll.scroll_page_down(animate=False)
        elif event.key == "pageup":
            event.stop()
            scroll.scroll_page_up(animate=False)


async def ask_changed(screen: Editor, data: bytes, *more: Choice) -> str | None:
    """Ask what to do with unsaved changes to a file that has changed on disk; `reload` is done already."""
    document = screen.document
    answer = await screen.app.push_screen_wait(
        Changed(document, data.decode("utf-8", "replace"), (KEEP, RELOAD, *more))
    )
    document.asked_about = data
    if answer == "reload":
        reload(screen, data)
    return answer


def reload(screen: Editor, data: bytes) -> bool:
    """Take the text of the file; False where it is no text."""
    document = screen.document
    try:
        document.reloaded(data.decode(), data)
    except UnicodeDecodeError:
        screen.chomp.notify(
            f"{document.name} changed on disk and is not UTF-8 text: it was not reloaded", severity="error"
        )
        return False
    screen.document_changed()
    return True


async def meet(screen: Editor, found: OnDisk) -> None:
    """Reload a file that has changed, or ask if there are unsaved changes."""
    document = screen.document
    if found.path != document.path or found.data in (document.disk, document.asked_about):
        return
    if found.data is None:
        document.asked_about = None
        screen.chomp.notify(f"{document.name} is no longer there; F2 writes it again", severity="warning")
    elif document.is_modified:
        await ask_changed(screen, found.data)
    elif reload(screen, found.data):
        screen.chomp.notify(f"{document.name} changed on disk: reloaded")
