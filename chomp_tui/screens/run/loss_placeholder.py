"""Shown in place of the loss chart while there is no loss: the reason, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chomp.record.formatting import duration, sanitize
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.widgets.update_if_changed import set_text

LOG_LINES = 8
LONGEST_LINE = 240


@dataclass(frozen=True)
class Notice:
    """A headline, what it means, lines of the log that explain it, and what to do."""

    title: str
    text: str = ""
    log: tuple[str, ...] = ()
    hint: str = ""
    is_bad: bool = False


NO_RUN = Notice(
    "No run selected",
    "Home lists the runs: select one and press Enter.",
    hint="1 shows the runs, 2 configures a new one",
)
STARTING = Notice("Starting engine (importing JAX)…")


def notice_of(snapshot: RunSnapshot) -> Notice | None:
    """The notice in place of the loss chart; None if there is a curve."""
    view, status, problem = snapshot.view, snapshot.status, snapshot.update.problem
    log = tuple(line for line in snapshot.log_end if line.strip())[-LOG_LINES:]
    if len(view.rows):
        return None
    if problem is not None and view.started is None and not log:
        return Notice("This run cannot be shown", problem, hint="1 shows the runs", is_bad=True)
    if status.is_live:
        return _under_way(snapshot)
    if status.tone == "live":
        return STARTING
    if status.tone == "bad":
        return Notice(f"The engine ended: {status.word}", status.reason, log, "the whole log is in the panel Log", True)
    if view.ended is not None:
        return Notice(f"The run is {status.word}, without a training step", status.reason, log, "r resumes it")
    return Notice("Nothing has happened yet", problem or status.reason, log, "1 shows the runs")


def _under_way(snapshot: RunSnapshot) -> Notice:
    view = snapshot.view
    phase = view.phase
    if phase is None:
        return STARTING
    since = duration(snapshot.now - phase.t) if phase.t else ""
    if phase.name == "data":
        return Notice(f"Reading the data, {since}", "The engine reads, counts and splits the corpus.")
    if phase.name == "compile":
        return Notice(f"Compiling the training step, {since}", "A large model takes minutes the first time.")
    if phase.name == "paused":
        return Notice("Paused before the first record", hint="p resumes")
    return Notice(f"Training since {since}", "The engine writes the first record after its step.")


class NoticePanel(VerticalScroll, can_focus=True):
    """Shows a notice."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, notice: Notice) -> None:
        """Replace the notice."""
        colour = "$error" if notice.is_bad else "$primary"
        parts = [Content.styled(sanitize(notice.title), f"bold {colour}")]
        if notice.text:
            parts.append(Content(sanitize(notice.text)))
        if notice.log:
            parts.append(Content.styled("\n".join(sanitize(line)[:LONGEST_LINE] for line in notice.log), "$muted"))
        if notice.hint:
            parts.append(Content.styled(notice.hint, "$accent"))
        content = Content("\n\n").join(parts)
        set_text(self.query_one(Static), content)
