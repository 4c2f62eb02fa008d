"""The start of an attempt as a checklist: its phases, each with its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from textual.content import Content

from chomp.record.formatting import duration, one_line, progress_line
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.widgets.listing import fit_text

State = Literal["done", "now", "next", "failed"]
SIGNS: dict[State, tuple[str, str]] = {
    "done": ("✓", "$success"), "now": ("◐", "$primary"), "next": ("·", "$muted"), "failed": ("✗", "$error"),
}  # fmt: skip
# Phases of the event log -> their line in the list, and a word or two where there is little room.
STEPS = (
    ("engine", "start engine (import JAX)", "engine"),
    ("data", "read data", "data"),
    ("compile", "compile training step", "compile"),
    ("train", "first record", "first record"),
)

LEAST_NOTE = 8


@dataclass(frozen=True)
class StartupPhase:
    """One line of the list; `seconds` is None where no event tells it."""

    name: str
    title: str
    short: str
    state: State
    seconds: float | None = None
    note: str = ""


def startup_phases(snapshot: RunSnapshot) -> tuple[StartupPhase, ...]:
    """The phases of the newest attempt from the start of its process to its first record."""
    begins = _begins(snapshot)
    reached = max((place for place, (name, _, _) in enumerate(STEPS) if name in begins), default=-1)
    first = _first_record(snapshot, begins.get("train"))
    goes_on = snapshot.status.is_live or snapshot.status.tone == "live"
    over = first if first is not None else snapshot.now if goes_on else snapshot.view.last_t
    found = []
    for place, (name, title, short) in enumerate(STEPS):
        later = [begins[other] for other, _, _ in STEPS[place + 1 :] if other in begins]
        end = later[0] if later else over
        begin = begins.get(name)
        state: State = "done" if place < reached or (name == "train" and first is not None) else "next"
        if place == reached and state != "done":
            state = "failed" if snapshot.status.tone == "bad" else "now"
        seconds = max(0.0, end - begin) if begin and end is not None and state != "next" else None
        found.append(StartupPhase(name, title, short, state, seconds, _note(snapshot, name, state)))
    return tuple(found)


def is_starting(snapshot: RunSnapshot) -> bool:
    """Whether an engine works towards its first record."""
    going = snapshot.status.tone == "live" or snapshot.status.word == "paused"
    return going and startup_phases(snapshot)[-1].state != "done"


def checklist(phases: tuple[StartupPhase, ...], width: int) -> Content:
    """One line for each phase."""
    wide = max(len(one.title) for one in phases)
    lines = []
    for one in phases:
        sign, colour = SIGNS[one.state]
        taken = duration(one.seconds) if one.seconds is not None else ""
        head = Content.assemble(
            (f"{sign} ", f"bold {colour}"), (f"{one.title:<{wide}}", "" if one.state != "next" else "$muted"),
            (f"{taken:>8}", "bold" if one.state == "now" else "$muted"),
        )  # fmt: skip
        room = width - head.cell_length - 2
        note = f"  {fit_text(one.note, room)}" if one.note and room > LEAST_NOTE else ""
        lines.append(head + Content.styled(note, "$muted"))
    return Content("\n").join(lines)


def in_one_line(phases: tuple[StartupPhase, ...], width: int) -> Content:
    """The same in a row, without the phases at the end that do not fit."""
    line = Content("")
    for one in phases:
        sign, colour = SIGNS[one.state]
        taken = f" {duration(one.seconds)}" if one.seconds is not None else ""
        part = Content.assemble(
            (f"{sign} ", colour), (f"{one.short}{taken}", "bold" if one.state == "now" else "$muted")
        )
        gap = "   " if line.plain else ""
        if line.cell_length + len(gap) + part.cell_length > width:
            break
        line = line + gap + part
    return line


def _begins(snapshot: RunSnapshot) -> dict[str, float]:
    """Unix times at which the phases of the newest attempt began."""
    # Until its first event, the phases are those of the attempt before it.
    opened = () if snapshot.status.word == "starting" else snapshot.view.opened
    begins: dict[str, float] = {}
    for phase in opened:
        if phase.t > 0:
            begins.setdefault(phase.name, phase.t)
    launched = snapshot.launched_at
    if launched is not None and launched <= begins.get("data", launched):
        begins["engine"] = launched
    elif begins:
        # The start of a process that has ended is not recorded.
        begins["engine"] = 0.0
    return begins


def _first_record(snapshot: RunSnapshot, training_since: float | None) -> float | None:
    """Unix time of the first row of the attempt."""
    times = snapshot.view.rows["t"]
    if training_since is None or not len(times) or not times[-1] >= training_since:
        return None
    return float(times[int(np.argmax(times >= training_since))])


def _note(snapshot: RunSnapshot, name: str, state: State) -> str:
    view = snapshot.view
    if name == "data":
        if state == "now" and view.progress is not None:
            return progress_line(view.progress)
        is_known = state == "done" and view.started is not None
        return one_line(view.started.data) if is_known and view.started else ""
    if name == "compile":
        if view.compiled is not None:
            return view.compiled.source
        return "minutes for a large model" if state == "now" else ""
    return ""
