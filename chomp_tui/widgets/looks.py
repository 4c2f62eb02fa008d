"""How states, losses and facts look, in every list and in every detail."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from textual.content import Content

from chomp.record.formatting import narrow, sanitize
from chomp.record.status import Status, Tone
from chomp_tui.theme import TONES
from chomp_tui.widgets.listing import Cell, cell

BAR_CELLS = 8
FACT_CELLS = 8
# Glyph and tone of the states of jobs, sweeps and trials; a run has its own in chomp/record/status.py.
_STATES: Mapping[str, tuple[str, Tone]] = {
    "running": ("●", "live"),
    "saving": ("◐", "live"),
    "waiting": ("…", "idle"),
    "asked": ("…", "idle"),
    "held": ("‖", "warn"),
    "done": ("✓", "good"),
    "complete": ("✓", "good"),
    "failed": ("✗", "bad"),
    "stopped": ("■", "idle"),
    "pruned": ("■", "idle"),
}


def look(state: str, reason: str = "") -> Status:
    """The state of a job, a sweep or a trial."""
    glyph, tone = _STATES[state]
    return Status(state, glyph, tone, reason)


def status_cell(status: Status, more: str = "") -> Cell:
    """Glyph and word of a state."""
    return cell(f"{status.glyph} {status.word}{more}", status.tone)


def reason_cell(status: Status) -> Cell:
    """Why it is so."""
    return cell(status.reason, "bad" if status.tone == "bad" else "muted")


def status_line(status: Status, instead: str = "") -> Content:
    """Glyph, word and reason of a state; `instead` of a reason where it has none."""
    head = Content.styled(f"{status.glyph} {status.word}", f"bold {TONES[status.tone]}")
    said = sanitize(status.reason) or instead
    return head + Content(f"  {said}") if said else head


def progress_bar(step: int, total: int | None, cells: int = BAR_CELLS) -> Cell:
    """Done and left as a line of two weights."""
    if not total:
        return ()
    done = min(cells, step * cells // total)
    return (("━" * done, "accent"), ("─" * (cells - done), "muted"))


def loss_text(value: float | None) -> str:
    """A loss in seven cells at most; a dash where there is none."""
    return "-" if value is None else narrow(value)


def loss_cell(value: float | None, tone: str = "") -> Cell:
    """The same as a cell."""
    return cell(loss_text(value), tone)


def fact(name: str, text: str, width: int) -> Content:
    """A name and its text, wrapped to `width` cells and indented behind the name."""
    wrapped = textwrap.wrap(sanitize(text), max(20, width - FACT_CELLS), break_on_hyphens=False) or [""]
    return Content.styled(f"{name:<{FACT_CELLS}}", "$muted") + Content(f"\n{' ' * FACT_CELLS}".join(wrapped))


def facts(named: Iterable[tuple[str, str]], width: int, head: Iterable[Content] = ()) -> Content:
    """Lines below each other: the head, then each fact that has a text."""
    return Content("\n").join([*head, *(fact(name, text, width) for name, text in named if text)])
