"""The checkpoints of a run, from its events and its origin."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chomp.record.formatting import elapsed, size, when
from chomp.record.run_view import CheckpointStatus
from chomp_tui.live.snapshot import MISSING, RunSnapshot
from chomp_tui.live.upcoming import none_yet
from chomp_tui.widgets.listing import Column, Listing, Row, cell
from chomp_tui.widgets.update_if_changed import set_text

COLUMNS = (
    Column("step", "step", 9, right=True),
    Column("state", "state", 7),
    Column("when", "when", 6, rank=3, right=True),
    Column("size", "size", 8, rank=2, right=True),
    Column("took", "saved in", 8, rank=4, right=True),
    Column("blocked", "blocked", 7, rank=5, right=True),
    Column("reason", "", 12, grow=1, rank=6),
)
WORDS = {
    "saving": ("saving …", "warn"),
    "committed": ("saved", "good"),
    "failed": ("failed", "bad"),
    "origin": ("parent", "good"),
    "refused": ("damaged", "bad"),
}


class RunCheckpoints(Vertical):
    """The list, newest step first. Posts `Opened` on Enter."""

    class Opened(Message):
        """The user opened the list."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = "Checkpoints"

    def compose(self) -> ComposeResult:
        yield Static(id="no-checkpoint", markup=False)
        yield Listing(COLUMNS)

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show a snapshot."""
        # Those that retention has deleted are counted only: a cursor on one of them would lead nowhere.
        kept = [one for one in snapshot.checkpoints.values() if one.state != "deleted"]
        checkpoints = sorted(kept, key=lambda one: -one.step)
        # On another machine a run may go on; here a save ends with its engine.
        may_run = snapshot.status.is_live or snapshot.status.state == "running"
        self.query_one(Listing).show([_row(one, snapshot.now, may_run=may_run) for one in checkpoints])
        deleted = len(snapshot.checkpoints) - len(kept)
        gone = f" · {deleted} deleted by retention" if deleted else ""
        subtitle = f"{len(snapshot.saved)} saved{gone} · Enter opens" if snapshot.checkpoints else "none yet"
        note = self.query_one("#no-checkpoint", Static)
        note.display, self.query_one(Listing).display = not checkpoints, bool(checkpoints)
        if not checkpoints:
            set_text(note, Content.styled(none_yet(snapshot, "checkpoint", "c saves one now."), "$muted"))
        # Setting it repaints the panel.
        if subtitle != self.border_subtitle:
            self.border_subtitle = subtitle

    def on_listing_opened(self, event: Listing.Opened) -> None:
        event.stop()
        self.post_message(self.Opened())


def _row(one: CheckpointStatus, now: float, *, may_run: bool) -> Row:
    word, tone = WORDS.get(one.state, (one.state, "muted"))
    if one.state == "saving" and not may_run:
        word, tone = "cut off", "bad"
    return Row(
        str(one.step),
        {
            "step": cell(f"{one.step:,}", "strong" if one.state in ("committed", "origin") else "muted"),
            "state": cell(word, tone),
            "when": cell(when(one.t, now) if one.t else MISSING, "muted"),
            "size": cell(MISSING if one.bytes is None else size(one.bytes)),
            "took": cell(_seconds(one.seconds)),
            "blocked": cell(_seconds(one.blocked_seconds), "muted"),
            "reason": cell(one.reason or "", "bad"),
        },
    )


def _seconds(value: float | None) -> str:
    return MISSING if value is None else elapsed(value)
