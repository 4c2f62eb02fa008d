"""What needs a person's eye: one line under the header, and the panel with all of it."""

from __future__ import annotations

import time

from textual.content import Content
from textual.widgets import Static

from chomp.events.text import defused
from chomp_tui.alerts import Alert
from chomp_tui.commands import Line
from chomp_tui.scene import Scene
from chomp_tui.widgets.listing import fit_text
from chomp_tui.widgets.panel import TextPanel, same
from chomp_tui.widgets.runheader import COLOURS

SIGNS = {"bad": "✗", "warn": "▲", "good": "✓", "live": "●", "idle": "·"}


class AlertBar(Static):
    """The newest answer to steering, then the first alert; hidden while there is neither."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._shown: Content | None = None

    def draw(self, scene: Scene, line: Line | None) -> None:
        """Show steering and alerts."""
        # What the header says as the reason of the state is not said twice.
        alerts = tuple(one for one in scene.alerts if one.text not in scene.status.reason)
        content = bar_text(alerts, line, (self.size.width or self.app.size.width) - 2)
        if not same(content, self._shown):
            self._shown = content
            self.update(content)
            self.display = bool(content.plain)


def bar_text(alerts: tuple[Alert, ...], line: Line | None, width: int) -> Content:
    """At most `width` cells: steering first, and what is left for the first alert."""
    parts: list[Content] = []
    if line is not None:
        room = width if not alerts else max(width // 2, width - 40)
        parts.append(Content.styled(fit_text(_flat(line.text), room), COLOURS[line.tone]))
    if alerts:
        first, more = alerts[0], f"  +{len(alerts) - 1}" if len(alerts) > 1 else ""
        room = width - sum(part.cell_length + 3 for part in parts) - len(more)
        text = fit_text(f"{SIGNS.get(first.tone, '·')} {_flat(first.word)}: {_flat(first.text)}", room)
        if room > 8:
            parts.append(Content.assemble((text, COLOURS[first.tone]), (more, "$muted")))
    return Content.styled(" │ ", "$border").join(parts)


class AlertList(TextPanel):
    """All alerts, and the warnings that the engine gave, newest first."""

    def text(self, scene: Scene, width: int) -> Content:
        lines = [
            Content.assemble(
                (f"{SIGNS.get(one.tone, '·')} {_flat(one.word)}", f"bold {COLOURS[one.tone]}"),
                (f"  {_clock(one.t)}  ", "$muted"),
                _flat(one.text),
            )
            for one in scene.alerts
        ]
        warnings = scene.view.warnings[::-1]
        if warnings:
            lines += [
                Content(""),
                Content.styled(f"Warnings of the engine: {scene.view.warning_count}", "bold $primary"),
            ]
        for warning in warnings:
            where = f" step {warning.step:,}" if warning.step is not None else ""
            lines.append(
                Content.assemble(
                    (f"{_clock(warning.t)}{where}  {_flat(warning.topic)}  ", "$muted"), _flat(warning.message)
                )
            )
        return Content("\n").join(lines) if lines else Content.styled("nothing to report", "$muted")


def _clock(t: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(t)) if t else ""


def _flat(text: str) -> str:
    return " ".join(defused(text).split())
