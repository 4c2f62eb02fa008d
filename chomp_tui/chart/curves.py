"""Curves as cells: dots of all series merged, each cell in the colour of one of them, and signs on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chomp.curves.bins import Bins, Bools, mapped
from chomp.curves.scale import Floats, Scale
from chomp_tui.chart import raster
from chomp_tui.chart.canvas import Canvas
from chomp_tui.chart.raster import Marker
from chomp_tui.chart.roles import Role, glyph, role_of
from chomp_tui.chart.series import Series

# Dot columns that are drawn, again and again: solid, dashed, dotted, dash and dot, long dashes.
_STROKES = ((1,), (1, 1, 1, 1, 0, 0), (1, 0, 0), (1, 1, 1, 1, 0, 0, 1, 0, 0), (1,) * 8 + (0,) * 4)
# Cells from one sign on a curve to the next, where signs distinguish curves.
_SIGN_CELLS = 10
# Cells with this share of raw dots are part of a band.
_BAND = 0.5


@dataclass(frozen=True)
class Plot:
    """The rectangle of cells that curves are drawn in."""

    left: int
    top: int
    width: int
    height: int
    marker: Marker

    @property
    def area(self) -> tuple[slice, slice]:
        """Its rows and columns on the canvas."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def dots_across(self) -> int:
        return self.width * self.marker.across

    @property
    def dots_down(self) -> int:
        return self.height * self.marker.down


def draw_curves(
    canvas: Canvas, plot: Plot, lines: Sequence[Series], bins: Sequence[Bins], scale: Scale, *, plain: bool
) -> None:
    """Draw context, raw values, other curves and evaluations, in this order; a later one takes the colour of a cell.

    Args:
        plain: whether colours are missing, so that strokes must differ.
    """
    layers = sorted(zip(lines, bins, strict=True), key=lambda pair: _layer(pair[0]))
    cells = _Cells(plot)
    for line, one in layers:
        heights = _centred(one.scaled(scale), plot) if line.sparse else one.scaled(scale)
        cells.add(line, _stroked(line, heights, plot, plain))
    cells.write(canvas)
    evaluations = [role_of(line) for line in lines if line.sparse and line.slot is None]
    for line, one in layers:
        heights = one.scaled(scale)
        if line.sparse or (plain and (line.slot is not None or line.tone == "second")):
            apart = 1 if line.sparse else _SIGN_CELLS
            _draw_signs(canvas, plot, heights, glyph(line, plot.marker.name, plain=plain), role_of(line), apart)
        elif len(one.column) == 1:
            _draw_signs(canvas, plot, heights, "•", role_of(line), 1)
        _draw_clipped(canvas, plot, heights, role_of(line), [] if line.sparse else evaluations)


def _layer(line: Series) -> int:
    return 3 if line.sparse else {"dim": 0, "raw": 1}.get(line.tone, 2)


def _centred(heights: Bins, plot: Plot) -> Bins:
    """The same in the middles of cells, where their signs are."""
    down, dots = plot.marker.down, plot.dots_down

    def snapped(at: Floats) -> Floats:
        inside = (at >= 0) & (at <= 1)
        cell = np.floor(np.rint((1 - np.where(inside, at, 0.0)) * (dots - 1)) / down)
        return np.where(inside, 1 - (cell * down + (down - 1) // 2) / max(dots - 1, 1), at)

    return mapped(heights, snapped)


def _stroked(line: Series, heights: Bins, plot: Plot, plain: bool) -> Bools:
    """Dots of one curve in its stroke; steep parts and spikes are always solid."""
    low, high = raster.strokes(heights, plot.dots_across)
    thick = plain and line.slot is None and line.tone == "smooth"
    dots = raster.lit(low, high, plot.dots_down, thick=thick)
    stroke = _STROKES[_stroke_number(line, plain)]
    if len(stroke) > 1:
        drawn = np.resize(np.array(stroke, np.bool_), plot.dots_across)
        dots &= drawn[None, :] | (dots.sum(axis=0) > 2)[None, :]
    return dots


def _stroke_number(line: Series, plain: bool) -> int:
    if line.tone == "dim":
        return 2
    if not plain:
        return 0
    if line.slot is not None:
        return line.slot % len(_STROKES)
    return {"eval": 1, "second": 2}.get(line.tone, 0)


class _Cells:
    """Dots of several series on one grid, and the role of each cell."""

    def __init__(self, plot: Plot) -> None:
        self._plot = plot
        self._dots = np.zeros((plot.dots_down, plot.dots_across), np.bool_)
        self._raw = np.zeros_like(self._dots)
        self._roles = np.zeros((plot.height, plot.width), np.uint8)
        self._runs: list[tuple[Role, Bools]] = []

    def add(self, line: Series, dots: Bools) -> None:
        """Add the dots of one series, over those before."""
        taken = self._by_cell(dots) > 0
        if line.tone == "raw":
            self._raw |= dots
        else:
            # In a band of raw values a curve is seen where it is alone in its cells.
            band = taken & (self._by_cell(self._raw) >= _BAND * self._plot.marker.weights.size)
            hidden = self._raw & np.repeat(
                np.repeat(band, self._plot.marker.down, axis=0), self._plot.marker.across, axis=1
            )
            self._raw &= ~hidden
            self._dots &= ~hidden
        self._dots |= dots
        self._roles[taken] = role_of(line)
        if line.slot is not None and not line.sparse and line.tone != "dim":
            self._runs.append((role_of(line), taken))
        elif self._runs:
            self._runs = [(role, cells & ~taken) for role, cells in self._runs]

    def _by_cell(self, dots: Bools) -> Floats:
        """How many dots of each cell are lit."""
        return dots.reshape(self._plot.height, self._plot.marker.down, self._plot.width, -1).sum(axis=(1, 3))

    def write(self, canvas: Canvas) -> None:
        """Write all cells with a dot."""
        if len(self._runs) > 1:
            self._share()
        cells = self._plot.marker.cells(self._dots)
        drawn = cells != ord(" ")
        canvas.codes[self._plot.area][drawn] = cells[drawn]
        canvas.roles[self._plot.area][drawn] = self._roles[drawn]

    def _share(self) -> None:
        """Where runs lie in the same cells, their colours take turns, so that none is hidden."""
        roles = np.array([role for role, _ in self._runs], np.uint8)
        present = np.stack([cells for _, cells in self._runs])
        count = present.sum(axis=0)
        turn = np.arange(self._plot.width)[None, :] // 2 % np.maximum(count, 1)
        chosen = present & (np.cumsum(present, axis=0) - 1 == turn)
        shared = count > 1
        self._roles[shared] = roles[np.argmax(chosen, axis=0)][shared]


def _draw_signs(canvas: Canvas, plot: Plot, heights: Bins, sign: str, role: Role, apart: int) -> None:
    """A sign at each sample, or at every so many where they would touch; the newest always has one."""
    columns = heights.column[heights.outside :].astype(np.intp) // plot.marker.across
    rows = raster.dot_rows(heights.last[heights.outside :], plot.dots_down) // plot.marker.down
    apart = max(apart, 2 if len(columns) > plot.width // 3 else 1)
    next_free = plot.width
    for column, row in zip(columns[::-1].tolist(), rows[::-1].tolist(), strict=True):
        if (column <= next_free - apart or next_free == plot.width) and 0 <= row < plot.height:
            canvas.put(plot.top + row, plot.left + column, sign, role)
            next_free = column


def _draw_clipped(canvas: Canvas, plot: Plot, heights: Bins, role: Role, above: Sequence[Role]) -> None:
    """▲ and ▼ at the edge that a curve leaves the plot over, but not on cells of the roles that lie above it."""
    inside: Callable[[Floats], Floats] = lambda at: at[heights.outside :]  # noqa: E731
    columns = plot.left + inside(heights.column).astype(np.intp) // plot.marker.across
    for row, sign, gone in (
        (plot.top, "▲", inside(heights.high) > 1 + 1e-9),
        (plot.top + plot.height - 1, "▼", inside(heights.low) < -1e-9),
    ):
        cells = columns[gone]
        cells = cells[~np.isin(canvas.roles[row, cells], above)]
        canvas.codes[row, cells] = ord(sign)
        canvas.roles[row, cells] = role
