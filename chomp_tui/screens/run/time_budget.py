"""The time budget panel: how a run spent its time."""

from __future__ import annotations

from textual.content import Content

from chomp.record.formatting import duration, plural
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.live.upcoming import CADENCES, upcoming
from chomp_tui.screens.run.panel import TextPanel, bar

NAMES = {
    "train": ("training", "$success"),
    "data_wait": ("data wait", "$warning"),
    "compile": ("compiling", "$chart-second"),
    "startup": ("starting", "$chart-second"),
    "eval": ("evaluating", "$chart-eval"),
    "sample": ("sampling", "$chart-eval"),
    "save": ("saving", "$chart-smooth"),
    "paused": ("paused", "$muted"),
    "lost": ("lost", "$error"),
}


class BudgetPanel(TextPanel):
    """Seconds by category over all attempts, as bars and shares."""

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        spent = snapshot.view.spent_until(snapshot.counted_until)
        total = sum(spent.values())
        if total <= 0:
            return Content.styled("no time measured yet", "$muted")
        cells = max(0, min(40, width - 28))
        lines, origin = [], snapshot.facts.origin
        if origin is not None and snapshot.view.is_accounted:
            # The engine adds the time stored in the parent's checkpoint; phases alone cover only the fork.
            lines.append(Content.styled(f"includes parent up to step {origin.step:,}", "$muted"))
        for key, (name, colour) in NAMES.items():
            seconds = spent.get(key, 0.0)
            if seconds <= 0 and key != "train":
                continue
            share = seconds / total
            filled, rest = bar(share, cells)
            lines.append(
                Content.assemble(
                    (f"{name:<11}", "$muted"),
                    (filled, colour),
                    (rest, "$border"),
                    (f" {share:>6.1%}", "bold" if seconds else "$muted"),
                    (f"{duration(seconds):>8}", "$muted"),
                )
            )
        return Content("\n").join([*lines, *_next_lines(snapshot, total)])


def _next_lines(snapshot: RunSnapshot, total: float) -> list[Content]:
    """The sum of all, and what the run does next."""
    attempts = snapshot.view.attempts
    lines = [
        Content(""),
        Content.assemble(
            (f"{'total':<11}", "$muted"),
            (duration(total), "bold"),
            (f" in {plural(attempts, 'attempt')}" if attempts > 1 else "", "$muted"),
        ),
    ]
    for job in CADENCES:
        if (one := upcoming(snapshot, job)) is not None:
            left = f"  in {duration(one.seconds)}" if one.seconds is not None else ""
            step = (f"step {one.step:,}", "bold")
            lines.append(Content.assemble((f"next {job:<12}", "$muted"), step, (left, "$muted")))
    return lines
