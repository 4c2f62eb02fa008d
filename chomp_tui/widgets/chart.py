"""A line chart with axes, zoom and crosshair; it redraws only changed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Blur, Leave, MouseMove
from textual.geometry import Region
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chomp_tui import keys
from chomp_tui.chart import frame
from chomp_tui.chart.canvas import Frame
from chomp_tui.chart.frame import ChartSettings
from chomp_tui.chart.roles import Role
from chomp_tui.chart.series import Series
from chomp_tui.chart.window import Window


class LineChart(Widget, can_focus=True):
    """Series over one x axis; showing the same data again costs nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("chart")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{role.name.lower()}" for role in Role if role is not Role.BLANK}

    log_y: reactive[bool] = reactive(False, init=False)
    marker: reactive[str] = reactive("braille", init=False)

    def __init__(self, title: str = "", *, unit: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings = ChartSettings(title=title, unit=unit)
        self.series: tuple[Series, ...] = ()
        self._drawn: Frame | None = None
        self._left = 0
        self._drawn_for = (-1, -1, False)
        self._strips: dict[int, Strip] = {}
        self._palette: tuple[Style, ...] = ()
        self._hovering = False

    # Data and settings -------------------------------------------------------------------

    def show(
        self,
        lines: Sequence[Series],
        *,
        title: str | None = None,
        x_label: str = "step",
        x_format: Callable[[float], str] | None = None,
    ) -> None:
        """Replace the series; later ones are painted over earlier ones, evaluations over all.

        A chart of several runs gives each run a number and its series that `slot`:

            chart.show([Series("lr 1e-3", steps, losses, slot=0), Series("lr 3e-3", other_steps, other_losses, slot=1)])

        Colour, sign and stroke of a run follow from its slot alone: they stay when other runs come and go. A series
        that is context only (the parent of a fork) has `tone="dim"`; evaluations of a run have its slot and
        `sparse=True`. The header names every series with its newest value, or with its value at the crosshair.

        Args:
            lines: any number of series, each with an x of its own.
            title: another title than before.
            x_label: what x counts, written at the axis; `time` means seconds and gets ticks at round times.
            x_format: how to write a value of x, instead of the usual short form.
        """
        before, settings = self._extent(), self._settings
        self.series = tuple(lines)
        if x_label != settings.x_label:
            after = self._extent()
            window = settings.window.converted(before[1] - before[0], after[1] - after[0])
            settings = replace(settings, window=window, cross=None)
        title = settings.title if title is None else title
        self._settings = replace(settings, title=title, x_label=x_label, x_format=x_format)
        self._redraw()

    def zoom_in(self) -> None:
        """Show half as much; the newest record stays at the right edge."""
        self._zoom(2.0)

    def zoom_out(self) -> None:
        """Show twice as much."""
        self._zoom(0.5)

    def zoom_reset(self) -> None:
        """Show everything."""
        self._set(window=Window())

    @property
    def zoomed(self) -> bool:
        """Whether only a part is shown."""
        return self._settings.window.width is not None

    def as_text(self) -> str:
        """The chart as plain text, for the clipboard."""
        return self._frame().text

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        # Always the whole chart: a part of its cells is not readable.
        return self.as_text(), "\n"

    def _zoom(self, factor: float) -> None:
        first, last = self._extent()
        most = max((len(line.x) for line in self.series), default=0)
        closest = (last - first) * min(1.0, 4 / max(most, 1))
        self._set(window=self._settings.window.zoomed(factor, first, last, closest))
        if self.cross is not None and self._frame().column_of(self.cross) is None:
            self._set(cross=None)

    def _extent(self) -> tuple[float, float]:
        """Least and greatest x of all series; zeros without data."""
        ends = [float(x) for line in self.series if len(line.x) for x in (line.x[0], line.x[-1])]
        ends = [end for end in ends if np.isfinite(end)]
        return (min(ends), max(ends)) if ends else (0.0, 0.0)

    def _set(self, **changes: Any) -> None:
        changed = replace(self._settings, **changes)
        if changed != self._settings:
            self._settings = changed
            self._redraw()

    def watch_log_y(self, log_y: bool) -> None:
        self._set(log_y=log_y)

    def watch_marker(self, marker: str) -> None:
        self._set(marker=marker)

    # Drawing -----------------------------------------------------------------------------

    def _redraw(self) -> None:
        """Draw now if the chart is on screen, and repaint the rows that differ; else when it is next painted."""
        old, self._drawn = self._drawn, None
        if old is None or self._drawn_for != self._wanted() or not (self.is_on_screen and self.screen.is_current):
            self._strips.clear()
            self.refresh()
            return
        changed = self._frame().rows_unlike(old)
        for row in changed:
            self._strips.pop(row, None)
        if changed:
            self.refresh(*(Region(0, row, self.size.width, 1) for row in changed))

    def _frame(self) -> Frame:
        wanted = self._wanted()
        if self._drawn is None or self._drawn_for != wanted:
            if self._drawn_for != wanted:
                self._strips.clear()
            width, height, plain = wanted
            settings = replace(self._settings, plain=plain)
            self._drawn = frame.draw(self.series, width, height, settings, self._left)
            self._left = self._drawn.left
            self._drawn_for = wanted
        return self._drawn

    def _wanted(self) -> tuple[int, int, bool]:
        """Columns, rows, and whether colours are missing."""
        return self.size.width, self.size.height, self.app.no_color or self.app.native_ansi_color

    def notify_style_update(self) -> None:
        self._strips.clear()
        self._palette = ()
        super().notify_style_update()

    def render_lines(self, crop: Region) -> list[Strip]:
        self._frame()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        if y not in self._strips:
            canvas = (self._drawn or self._frame()).canvas
            palette, width = self._palette or self._colours(), self.size.width
            segments = [Segment(text, palette[role]) for text, role in canvas.row(y)] if y < canvas.height else []
            self._strips[y] = Strip(segments).adjust_cell_length(width, palette[Role.BLANK])
        return self._strips[y]

    def _colours(self) -> tuple[Style, ...]:
        """Style of each role; kept until styles change, as working one out is slow."""
        parts = [
            self.get_component_rich_style(f"chart--{role.name.lower()}") for role in Role if role is not Role.BLANK
        ]
        self._palette = (self.rich_style, *parts)
        return self._palette

    # Crosshair ---------------------------------------------------------------------------

    @property
    def cross(self) -> float | None:
        """x of the crosshair, None without one."""
        return self._settings.cross

    def action_crosshair(self, direction: int) -> None:
        """To the next column with a sample; over the end removes the crosshair."""
        self._hovering = False
        drawn = self._frame()
        if drawn.edges is None:
            return
        low, high = float(drawn.edges[0]), float(drawn.edges[-1])
        if self.cross is not None and (cell := drawn.column_of(self.cross)) is not None:
            left, right = drawn.x_between(cell) or (low, high)
            low, high = (right, high) if direction > 0 else (low, left)
        self._set(cross=self._sample(low, high, newest=direction < 0))

    def action_crosshair_off(self) -> None:
        """Remove the crosshair."""
        self._set(cross=None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.cross is not None if action == "crosshair_off" else True

    def _sample(self, low: float, high: float, *, newest: bool) -> float | None:
        """The newest, or the oldest, x of any series from `low` up to but not including `high`."""
        found = []
        for line in self.series:
            x = np.asarray(line.x, np.float64)
            first, end = np.searchsorted(x, (low, high))
            if first < end:
                found.append(float(x[end - 1] if newest else x[first]))
        return (max if newest else min)(found, default=None)

    def on_mouse_move(self, event: MouseMove) -> None:
        drawn, place = self._frame(), event.get_content_offset(self)
        between = None if place is None else drawn.x_between(place.x - drawn.left)
        self._hovering = True
        self._set(cross=self._sample(*between, newest=True) if between else None)

    def on_leave(self, event: Leave) -> None:
        if self._hovering:
            self._set(cross=None)

    def on_blur(self, event: Blur) -> None:
        self._set(cross=None)
