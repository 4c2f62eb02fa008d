"""Alerts: one line under the header, and the panel that lists all."""

from __future__ import annotations

import time

from textual.content import Content
from textual.widgets import Static

from chomp.record.formatting import one_line
from chomp_tui.engine.commands import CommandStatus
from chomp_tui.live.alerts import Alert
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.panel import TextPanel
from chomp_tui.screens.run.startup import in_one_line, is_starting, startup_phases
from chomp_tui.theme import TONES
from chomp_tui.widgets.listing import fit_text
from chomp_tui.widgets.update_if_changed import set_text

SIGNS = {"bad": "✗", "warn": "▲", "good": "✓", "live": "●", "idle": "·"}


DIVIDER = " │ "
# Cells of a divider and a count; with less than LEAST_ALERT cells beside steering, alerts are only counted.
TALLY_ROOM = 8
LEAST_ALERT = 30


class AlertBar(Static):
    """The newest answer to steering, then the first alert, else how far a start is; its row is always there."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)

    def draw(self, snapshot: RunSnapshot, line: CommandStatus | None) -> None:
        """Show steering and alerts."""
        # The header already shows the reason of the state.
        alerts = tuple(one for one in snapshot.alerts if one.text not in snapshot.status.reason)
        width = (self.size.width or self.app.size.width) - 2
        content = bar_text(alerts, line, width)
        # Without a curve the notice in its place has the list.
        if not content.plain and len(snapshot.view.rows) and is_starting(snapshot):
            content = in_one_line(startup_phases(snapshot), width)
        set_text(self, content)


def bar_text(alerts: tuple[Alert, ...], line: CommandStatus | None, width: int) -> Content:
    """At most `width` cells: steering, then the newest alert, or a count where that does not fit."""
    parts: list[Content] = []
    if line is not None:
        room = width - (TALLY_ROOM if alerts else 0)
        parts.append(Content.styled(fit_text(one_line(line.text), room), TONES[line.tone]))
    if alerts:
        room = width - sum(part.cell_length + len(DIVIDER) for part in parts)
        parts.append(_alert_text(alerts, room, whole=line is None))
    return Content.styled(DIVIDER, "$border").join(parts)


def _alert_text(alerts: tuple[Alert, ...], room: int, *, whole: bool) -> Content:
    """The newest alert and the number of others; with little room, only the number of alerts."""
    first = alerts[0]
    sign, colour = SIGNS.get(first.tone, "·"), TONES[first.tone]
    if not whole and room < LEAST_ALERT:
        return Content.styled(f"{sign} {len(alerts)}", colour)
    more = f"  +{len(alerts) - 1}" if len(alerts) > 1 else ""
    text = fit_text(f"{sign} {one_line(first.word)}: {one_line(first.text)}", room - len(more))
    return Content.assemble((text, colour), (more, "$muted"))


class AlertList(TextPanel):
    """All alerts, then the engine's warnings, newest first."""

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        lines = [
            Content.assemble(
                (f"{SIGNS.get(one.tone, '·')} {one_line(one.word)}", f"bold {TONES[one.tone]}"),
                (f"  {_clock(one.t)}  ", "$muted"),
                one_line(one.text),
            )
            for one in snapshot.alerts
        ]
        warnings = snapshot.view.warnings[::-1]
        if warnings:
            lines += [
                Content(""),
                Content.styled(f"Warnings of the engine: {snapshot.view.warning_count}", "bold $primary"),
            ]
        for warning in warnings:
            where = f" step {warning.step:,}" if warning.step is not None else ""
            lines.append(
                Content.assemble(
                    (f"{_clock(warning.t)}{where}  {one_line(warning.topic)}  ", "$muted"), one_line(warning.message)
                )
            )
        return Content("\n").join(lines) if lines else Content.styled("nothing to report", "$muted")


def _clock(t: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(t)) if t else ""
