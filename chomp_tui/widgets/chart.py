"""A line chart with axes, zoom, pan and crosshair; it redraws only changed cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Blur, Leave, MouseMove, MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chomp.curves.limits import Range
from chomp_tui import keys
from chomp_tui.chart import frame
from chomp_tui.chart.canvas import Frame
from chomp_tui.chart.frame import ChartSettings
from chomp_tui.chart.roles import Role
from chomp_tui.chart.series import Series
from chomp_tui.chart.window import Window

# A share of what is shown: one key pans by it.
PAN_SHARE = 0.25
WHEEL_FACTOR = 1.25


class LineChart(Widget, can_focus=True):
    """Series over one x axis; showing the same data again costs nothing.

    Attributes:
        log_y: whether y is logarithmic.
        marker: `braille` or `block`.
        show_all: whether y spans all values, instead of those of the calm part of the curves.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("chart")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{role.name.lower()}" for role in Role if role is not Role.BLANK}

    log_y: reactive[bool] = reactive(False, init=False)
    marker: reactive[str] = reactive("braille", init=False)
    show_all: reactive[bool] = reactive(False, init=False)

    class CrossMoved(Message):
        """The user has moved the crosshair to another x, or removed it; `cross` of other charts can follow."""

        def __init__(self, chart: LineChart, x: float | None) -> None:
            super().__init__()
            self.chart = chart
            self.x = x

    class WindowMoved(Message):
        """The user has zoomed with the wheel; `window` of other charts can follow."""

        def __init__(self, chart: LineChart, window: Window) -> None:
            super().__init__()
            self.chart = chart
            self.window = window

    def __init__(self, title: str = "", *, unit: str = "", shown: Range = "together", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shown = shown
        self._settings = ChartSettings(title=title, unit=unit, shown=shown)
        self.series: tuple[Series, ...] = ()
        self._drawn: Frame | None = None
        self._left = 0
        self._drawn_for = (-1, -1, False)
        self._strips: dict[int, Strip] = {}
        self._palette: tuple[Style, ...] = ()
        self._painted: tuple[Style, ...] = ()
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
        `sparse=True`. The header names every run with its newest values, or with those at the crosshair.

        Args:
            lines: any number of series, each with an x of its own.
            title: another title than before.
            x_label: what x counts, written at the axis; `time` means seconds and gets ticks at round times.
            x_format: how to write a value of x, instead of the usual short form.
        """
        before, settings = self.extent, self._settings
        self.series = tuple(lines)
        if x_label != settings.x_label:
            window = settings.window.converted(before, self.extent)
            settings = replace(settings, window=window, cross=None)
        title = settings.title if title is None else title
        self._settings = replace(settings, title=title, x_label=x_label, x_format=x_format)
        self._redraw()

    def zoom_in(self) -> None:
        """Show half as much; the crosshair stays where it is, without one the right end."""
        self._zoom(2.0, self.cross)

    def zoom_out(self) -> None:
        """Show twice as much."""
        self._zoom(0.5, self.cross)

    def zoom_reset(self) -> None:
        """Show everything."""
        self.window = Window()

    def pan(self, direction: int) -> None:
        """Show what is left (-1) or right (1) of a zoomed part; at the newest record it is followed again."""
        self.window = self.window.panned(direction * PAN_SHARE, *self.extent)

    @property
    def window(self) -> Window:
        """The part of x that is shown."""
        return self._settings.window

    @window.setter
    def window(self, window: Window) -> None:
        self._set(window=window)
        if self.cross is not None and self._frame().column_of(self.cross) is None:
            self._set(cross=None)

    @property
    def zoomed(self) -> bool:
        """Whether only a part is shown."""
        return self.window.width is not None

    def as_text(self) -> str:
        """The chart as plain text, for the clipboard."""
        return self._frame().text

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        # Always the whole chart: a part of its cells is not readable.
        return self.as_text(), "\n"

    def _zoom(self, factor: float, at: float | None) -> None:
        first, last = self.extent
        most = max((len(line.x) for line in self.series), default=0)
        closest = (last - first) * min(1.0, 4 / max(most, 1))
        self.window = self.window.zoomed(factor, first, last, closest, at)

    @property
    def extent(self) -> tuple[float, float]:
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

    def watch_show_all(self, show_all: bool) -> None:
        self._set(shown="all" if show_all else self._shown)

    # Drawing -----------------------------------------------------------------------------

    def _redraw(self) -> None:
        """Draw now if the chart is on screen, and repaint the cells that differ; else when it is next painted."""
        old, self._drawn = self._drawn, None
        if old is None or self._drawn_for != self._wanted() or not (self.is_on_screen and self.screen.is_current):
            self._strips.clear()
            self.refresh()
            return
        changed = self._frame().changes_from(old)
        for row, _, _ in changed:
            self._strips.pop(row, None)
        if changed:
            self.refresh(*(Region(start, row, end - start, 1) for row, start, end in changed))

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

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> LineChart:
        """As of any widget; where only the border can have changed, as when the focus moves, only that is painted."""
        if not regions and repaint and not layout and not recompose and self._is_painted():
            regions = tuple(self._border_regions())
            repaint = bool(regions)
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def _is_painted(self) -> bool:
        """Whether the cells on the screen are those that would be painted now."""
        if self._drawn is None or not self._painted or not self.is_attached or self._drawn_for != self._wanted():
            return False
        return self._painted == self._colours()

    def _border_regions(self) -> list[Region]:
        """All around the content, in its coordinates."""
        gutter, (width, height) = self.gutter, self.size
        left, right, top, bottom = -gutter.left, width + gutter.right, -gutter.top, height + gutter.bottom
        edges = (
            Region.from_corners(left, top, right, 0),
            Region.from_corners(left, height, right, bottom),
            Region.from_corners(left, 0, 0, height),
            Region.from_corners(width, 0, right, height),
        )
        return [edge for edge in edges if edge]

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
            self._painted = self._palette = self._palette or self._colours()
            palette, width = self._palette, self.size.width
            segments = [Segment(text, palette[role]) for text, role in canvas.row(y)] if y < canvas.height else []
            self._strips[y] = Strip(segments).adjust_cell_length(width, palette[Role.BLANK])
        return self._strips[y]

    def _colours(self) -> tuple[Style, ...]:
        """Style of each role; those of a paint are kept until styles change, as working one out is slow."""
        parts = [
            self.get_component_rich_style(f"chart--{role.name.lower()}") for role in Role if role is not Role.BLANK
        ]
        return (self.rich_style, *parts)

    # Crosshair ---------------------------------------------------------------------------

    @property
    def cross(self) -> float | None:
        """x of the crosshair, None without one."""
        return self._settings.cross

    @cross.setter
    def cross(self, x: float | None) -> None:
        self._set(cross=x)

    def action_crosshair(self, cells: int) -> None:
        """To the next sample at least so many cells away; one step over the end removes the crosshair."""
        drawn = self._frame()
        if drawn.edges is None:
            return
        low, high = float(drawn.edges[0]), float(drawn.edges[-1])
        cell = None if self.cross is None else drawn.column_of(self.cross)
        if cell is None:
            self._point_at(self._sample(low, high, newest=cells < 0))
            return
        between = drawn.x_between(cell + cells)
        found = None
        if between is not None:
            ends = (low, between[1]) if cells < 0 else (between[0], high)
            found = self._sample(*ends, newest=cells < 0)
        if found is None and abs(cells) > 1:
            found = self._sample(low, high, newest=cells > 0)
        self._point_at(found)

    def action_crosshair_end(self, direction: int) -> None:
        """To the first or the newest sample that is shown."""
        drawn = self._frame()
        if drawn.edges is not None:
            self._point_at(self._sample(float(drawn.edges[0]), float(drawn.edges[-1]), newest=direction > 0))

    def action_crosshair_off(self) -> None:
        """Remove the crosshair."""
        self._point_at(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.cross is not None if action == "crosshair_off" else True

    def _point_at(self, x: float | None, *, hovering: bool = False) -> None:
        self._hovering = hovering
        if x != self.cross:
            self._set(cross=x)
            self.post_message(self.CrossMoved(self, x))

    def _sample(self, low: float, high: float, *, newest: bool) -> float | None:
        """The newest, or the oldest, x of any series from `low` up to but not including `high`."""
        found = []
        for line in self.series:
            x = np.asarray(line.x, np.float64)
            first, end = np.searchsorted(x, (low, high))
            if first < end:
                found.append(float(x[end - 1] if newest else x[first]))
        return (max if newest else min)(found, default=None)

    def _x_under(self, event: MouseMove | MouseScrollUp | MouseScrollDown) -> tuple[float, float] | None:
        drawn, place = self._frame(), event.get_content_offset(self)
        return None if place is None else drawn.x_between(place.x - drawn.left)

    def on_mouse_move(self, event: MouseMove) -> None:
        between = self._x_under(event)
        self._point_at(self._sample(*between, newest=True) if between else None, hovering=True)

    def on_leave(self, event: Leave) -> None:
        if self._hovering:
            self._point_at(None)

    def on_blur(self, event: Blur) -> None:
        self._point_at(None)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._wheel(event, WHEEL_FACTOR)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._wheel(event, 1 / WHEEL_FACTOR)

    def _wheel(self, event: MouseScrollUp | MouseScrollDown, factor: float) -> None:
        """Zoom around what is under the pointer."""
        event.stop()
        between = self._x_under(event)
        before = self.window
        self._zoom(factor, None if between is None else between[0] / 2 + between[1] / 2)
        if self.window != before:
            self.post_message(self.WindowMoved(self, self.window))
