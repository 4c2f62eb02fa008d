"""Shown in place of the loss chart while there is no loss: the reason, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chomp.record.formatting import sanitize
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.startup import StartupPhase, checklist, startup_phases
from chomp_tui.widgets.update_if_changed import set_text

LOG_LINES = 8
LONGEST_LINE = 240


@dataclass(frozen=True)
class Notice:
    """A headline, what it means, lines of the log that explain it, what to do, and how far the start-up is."""

    title: str
    text: str = ""
    log: tuple[str, ...] = ()
    hint: str = ""
    is_bad: bool = False
    phases: tuple[StartupPhase, ...] = ()


NO_RUN = Notice(
    "No run selected",
    "Home lists the runs: select one and press Enter.",
    hint="1 shows the runs, 2 configures a new one",
)
TITLES = {
    "engine": "Starting engine (importing JAX)…",
    "data": "Reading data…",
    "compile": "Compiling the training step…",
    "train": "Training, waiting for the first record…",
}


def notice_of(snapshot: RunSnapshot) -> Notice | None:
    """The notice in place of the loss chart; None if there is a curve."""
    view, status, problem = snapshot.view, snapshot.status, snapshot.update.problem
    log = tuple(line for line in snapshot.log_end if line.strip())[-LOG_LINES:]
    if len(view.rows):
        return None
    if problem is not None and view.started is None and not log:
        return Notice("This run cannot be shown", problem, hint="1 shows the runs", is_bad=True)
    if status.is_live or status.tone == "live":
        return _under_way(snapshot)
    if status.tone == "bad":
        return Notice(_failure(snapshot), status.reason, log, "the whole log is in the panel Log: Alt+4", True)
    if view.ended is not None:
        return Notice(f"The run is {status.word}, without a training step", status.reason, log, "r resumes it")
    return Notice("Nothing has happened yet", problem or status.reason, log, "1 shows the runs")


def _failure(snapshot: RunSnapshot) -> str:
    """What went wrong, in a few words: an engine that never trained could not start."""
    if snapshot.status.word not in ("crashed", "failed to start"):
        return snapshot.status.word.capitalize()
    trained = any(phase.name == "train" for phase in snapshot.view.opened)
    return "Crashed before the first record" if trained else "Could not start"


def _under_way(snapshot: RunSnapshot) -> Notice:
    if snapshot.status.word == "paused":
        return Notice("Paused before the first record", hint="p resumes")
    phases = startup_phases(snapshot)
    now = next((one.name for one in phases if one.state == "now"), "engine")
    return Notice(TITLES[now], phases=phases)


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
        if notice.phases:
            parts.append(checklist(notice.phases, max(40, self.scrollable_content_region.width)))
        if notice.log:
            parts.append(Content.styled("\n".join(sanitize(line)[:LONGEST_LINE] for line in notice.log), "$muted"))
        if notice.hint:
            parts.append(Content.styled(notice.hint, "$accent"))
        content = Content("\n\n").join(parts)
        set_text(self.query_one(Static), content)
