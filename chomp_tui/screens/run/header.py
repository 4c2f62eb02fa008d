"""The header: name, state and progress of the run, then its key facts."""

from __future__ import annotations

from textual.content import Content

from chomp.record.formatting import count, device_words, duration, moment, one_line, sanitize, since
from chomp.record.status import PAUSED
from chomp_tui.live.eta import progress
from chomp_tui.live.snapshot import MISSING, RunSnapshot
from chomp_tui.screens.run.text_lines import TextLines
from chomp_tui.theme import TONES
from chomp_tui.widgets.listing import fit_text

LEAST_BAR = 10
MOST_BAR = 60


class RunHeader(TextLines):
    """The header of the run view."""

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show a snapshot."""
        width = self.size.width or self.app.size.width
        self.show(first_line(snapshot, width - 2) + "\n" + second_line(snapshot, width - 2))

    def show_text(self, text: str) -> None:
        """Show a text instead."""
        self.show(Content(sanitize(text)))


def first_line(snapshot: RunSnapshot, width: int) -> Content:
    """State, name, bar, step of total, percent, remaining time."""
    status = snapshot.status
    colour = TONES[status.tone]
    state = f"{status.glyph} {status.word}{' · p resumes' if status.reason == PAUSED else ''}"
    right = progress_words(snapshot)
    room = width - len(state) - len(right) - 6
    has_bar = snapshot.view.total_steps is not None and room >= LEAST_BAR + 8
    name = fit_text(one_line(snapshot.update.run.name), max(4, room - (LEAST_BAR if has_bar else 0)), middle=True)
    cells = min(MOST_BAR, room - len(name)) if has_bar else 0
    share = progress(snapshot.view) or 0.0
    filled = round(share * cells)
    gap = " " * max(2, width - len(state) - 2 - len(name) - 2 - cells - len(right))
    return Content.assemble(
        (state, f"bold {colour}"), "  ", (name, "bold"), "  ",
        ("━" * filled, colour), ("╌" * (cells - filled), "$border"), (gap if not has_bar else gap[:2], ""), right,
    )  # fmt: skip


def progress_words(snapshot: RunSnapshot) -> str:
    """`1,200/10,000  12.0 %  ETA 2h07m`, as far as known."""
    view = snapshot.view
    share = progress(snapshot.view)
    if share is None:
        return f"step {view.step:,}" if view.step else ""
    words = f"{view.step:,}/{view.total_steps:,}  {share:.1%}"
    if snapshot.status.is_live and view.step < (view.total_steps or 0):
        words += f"  ETA {duration(snapshot.eta_seconds) if snapshot.eta_seconds is not None else MISSING}"
    return words


def second_line(snapshot: RunSnapshot, width: int) -> Content:
    """The reason of the state, then age, speed, times, device, origin; as many as fit."""
    parts = (
        [(fit_text(one_line(snapshot.status.reason), width), TONES[snapshot.status.tone])]
        if snapshot.status.reason not in ("", PAUSED)
        else []
    )
    parts += [(text, "$muted") for text in _facts(snapshot)]
    line, length = Content(""), 0
    for text, style in parts:
        needed = len(text) + (3 if length else 0)
        if length + needed <= width:
            line += Content.assemble((" · " if length else "", "$border"), (text, style))
            length += needed
    return line


def _facts(snapshot: RunSnapshot) -> list[str]:
    view, facts = snapshot.view, []
    if snapshot.age_seconds is not None and view.last_t is not None:
        # For an engine on another machine the console cannot know whether it has ended.
        has_ended = view.ended is not None or snapshot.status.tone == "bad"
        facts.append(
            # A time, since an age would be written to the terminal again each second.
            f"ended {moment(view.last_t, snapshot.now)}"
            if has_ended and not snapshot.status.is_live
            else f"last {'record' if len(view.rows) else 'event'} {since(snapshot.age_seconds)} ago"
        )
    speed = snapshot.newest("tokens_per_sec")
    if snapshot.status.is_live and speed is not None:
        facts.append(f"{count(round(speed))} tokens/s")
    if snapshot.elapsed_seconds is not None:
        facts.append(f"{'elapsed' if snapshot.status.is_live else 'took'} {duration(snapshot.elapsed_seconds)}")
    origin = snapshot.facts.origin
    if origin is not None:
        facts.append(f"{origin.kind} {one_line(origin.run)} at step {origin.step:,}")
    # The first attempt of a fork begins at the fork's step, which is shown already.
    if view.attempts > (1 if origin is not None else 0):
        resumed = view.started.resumed_from if view.started is not None else None
        facts.append(f"attempt {view.attempts}" + (f" from step {resumed:,}" if resumed is not None else ""))
    if view.started is not None:
        facts.append(one_line(device_words(view.started.device)))
    if snapshot.update.read_fraction < 1:
        facts.insert(0, f"reading {snapshot.update.read_fraction:.0%}")
    return facts
