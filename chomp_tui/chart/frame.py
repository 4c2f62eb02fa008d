"""A whole chart as rows of characters with roles: header, axes, grid, curves, crosshair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from chomp_tui.chart import raster, scale
from chomp_tui.chart.canvas import Canvas, Frame
from chomp_tui.chart.header import Entry, header
from chomp_tui.chart.raster import Bins, Floats, Marker
from chomp_tui.chart.roles import Role, glyph, role_of
from chomp_tui.chart.series import Series
from chomp_tui.chart.window import Window, column_edges

# Cells across that a plot is given before its labels are.
LEAST_PLOT = 8


@dataclass(frozen=True)
class ChartSettings:
    """Everything but the data that a chart depends on.

    Attributes:
        unit: of y, shown behind the title.
        x_label: what x counts; `time` makes it seconds, with ticks at round times.
        x_format: how to write an x value, instead of the usual.
        plain: whether colours are missing, so that curves must differ in shape.
        cross: x of the crosshair.
    """

    title: str = ""
    unit: str = ""
    x_label: str = "step"
    x_format: Callable[[float], str] | None = None
    log_y: bool = False
    marker: str = raster.BRAILLE.name
    window: Window = field(default_factory=Window)
    plain: bool = False
    cross: float | None = None


@dataclass(frozen=True)
class _Plot:
    """The rectangle of cells that curves are drawn in."""

    left: int
    top: int
    width: int
    height: int
    marker: Marker


@dataclass(frozen=True, eq=False)
class _Layout:
    """What follows from so many cells left of the plot: dot columns, what falls into them, and the vertical axis."""

    left: int
    edges: Floats
    bins: Sequence[Bins]
    heights: scale.Scale | None
    labelled: Sequence[tuple[float, str]]

    @property
    def wanted(self) -> int:
        """Cells that the labels need."""
        return max((len(text) + 1 for _, text in self.labelled), default=0)


def _settled(laid_out: Callable[[int], _Layout], width: int) -> _Layout:
    """A layout with room for its labels. Labels depend on the values shown, and those on the columns of the plot.

    Without labels if there is no room for them, or no width for which the labels stay as wide.
    """
    layout = laid_out(0)
    for _ in range(2):
        if layout.wanted <= layout.left or width - layout.wanted < LEAST_PLOT:
            break
        layout = laid_out(layout.wanted)
    return layout if layout.wanted <= layout.left else replace(layout, labelled=())


def draw(lines: Sequence[Series], width: int, height: int, settings: ChartSettings, left: int = 0) -> Frame:
    """Draw a chart of exactly so many cells; never raises on any data or size.

    Args:
        left: cells left of the plot in the picture before: mostly they are as many again, and that is tried first.
    """
    canvas = Canvas(max(width, 0), max(height, 0))
    marker = raster.MARKERS[settings.marker]
    series = [raster.samples(line.x, line.y, positive=settings.log_y) for line in lines]
    with_header, with_axis = height >= 3, height >= 5 and width >= 8
    rows = height - with_header - with_axis
    if width < 1 or rows < 1:
        return Frame(canvas, 0, None, marker.across)
    if with_header:
        _write_header(canvas, lines, settings)
    ends = [one.x[[0, -1]] for one in series if not one.empty]
    if not ends:
        _say(canvas, int(with_header), rows, _why_empty(lines, settings))
        return Frame(canvas, 0, None, marker.across)
    first, last = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))

    def laid_out(left: int) -> _Layout:
        edges = column_edges(first, last, (width - left) * marker.across, settings.window.width)
        bins = [raster.binned(one, edges) for one in series]
        heights = _heights(bins, log=settings.log_y)
        return _Layout(left, edges, bins, heights, [] if heights is None else _labelled(heights, rows))

    layout = laid_out(left) if 0 < left <= width - LEAST_PLOT else None
    if layout is None or layout.wanted != left:
        layout = _settled(laid_out, width)
    edges, heights = layout.edges, layout.heights
    plot = _Plot(layout.left, int(with_header), width - layout.left, rows, marker)
    if heights is None:
        _say(canvas, plot.top, rows, "no values here")
    else:
        _draw_rows(canvas, plot, heights, layout.labelled)
        _draw_curves(canvas, plot, lines, layout.bins, heights, settings)
    if with_axis:
        _draw_columns(canvas, plot, edges, lines, settings)
    if settings.cross is not None:
        _draw_cross(canvas, plot, edges, settings.cross)
    return Frame(canvas, layout.left, edges, marker.across)


def _why_empty(lines: Sequence[Series], settings: ChartSettings) -> str:
    given = [np.asarray(line.y, np.float64) for line in lines if min(len(line.x), len(line.y))]
    if not given:
        return "no data yet"
    finite = any(bool(np.isfinite(y).any()) for y in given)
    return "no values above 0" if settings.log_y and finite else "no finite values"


def _say(canvas: Canvas, top: int, rows: int, text: str) -> None:
    width = canvas.codes.shape[1]
    canvas.put(top + (rows - 1) // 2, max(0, (width - len(text)) // 2), text, Role.MUTED)


def _heights(bins: Sequence[Bins], *, log: bool) -> scale.Scale | None:
    """The axis over all values shown; nothing is clipped."""
    shown = [(one.low[one.outside :], one.high[one.outside :]) for one in bins if len(one.column) > one.outside]
    if not shown:
        return None
    return scale.Scale(float(min(low.min() for low, _ in shown)), float(max(high.max() for _, high in shown)), log=log)


def _labelled(heights: scale.Scale, rows: int) -> list[tuple[float, str]]:
    """Values and texts along the vertical axis."""
    ticks = heights.ticks(rows)
    return list(zip(map(float, ticks), scale.labels(ticks), strict=True))


def _draw_rows(canvas: Canvas, plot: _Plot, heights: scale.Scale, labelled: Sequence[tuple[float, str]]) -> None:
    """Labels and faint lines of the vertical axis."""
    at = heights.at(np.array([value for value, _ in labelled]))
    rows = plot.top + raster.dot_rows(at, plot.height * plot.marker.down) // plot.marker.down
    for row, (_, text) in zip(rows.tolist(), labelled, strict=True):
        canvas.put(row, plot.left - 1 - len(text), text, Role.MUTED)
        canvas.put(row, plot.left, "·" * plot.width, Role.GRID)


def _draw_columns(canvas: Canvas, plot: _Plot, edges: Floats, lines: Sequence[Series], settings: ChartSettings) -> None:
    """Labels of the horizontal axis, and what it counts at its right end."""
    row, width = plot.top + plot.height, plot.left + plot.width
    unit = settings.x_label if len(settings.x_label) <= plot.width // 3 else ""
    limit = width - (len(unit) + 1 if unit else 0)
    ticks = scale.x_ticks(
        float(edges[0]),
        float(edges[-1]),
        plot.width - (len(unit) + 1),
        time=settings.x_label == "time",
        whole=all(_whole(line.x) for line in lines),
        text=settings.x_format,
    )
    free = 0
    for value, label in ticks:
        cell = plot.left + int(np.searchsorted(edges, value, side="right") - 1) // plot.marker.across
        start = max(0, cell - len(label) // 2)
        if start >= free and start + len(label) <= limit:
            canvas.put(row, start, label, Role.MUTED)
            free = start + len(label) + 2
    canvas.put(row, width - len(unit), unit, Role.MUTED)


def _whole(x: NDArray[np.generic]) -> bool:
    if not len(x):
        return True
    some = np.asarray(x[[0, len(x) // 2, -1]], np.float64)
    return bool(np.all(some == np.rint(some)))


def _draw_curves(
    canvas: Canvas,
    plot: _Plot,
    lines: Sequence[Series],
    bins: Sequence[Bins],
    heights: scale.Scale,
    settings: ChartSettings,
) -> None:
    """Raw series, then what joins the samples of sparse ones, other curves, and signs: each takes the whole cell."""
    area = (slice(plot.top, plot.top + plot.height), slice(plot.left, plot.left + plot.width))
    series = sorted(
        zip(lines, bins, strict=True), key=lambda pair: 1 if pair[0].sparse else 2 * (pair[0].tone != "raw")
    )
    for line, one in series:
        low, high = raster.strokes(one.scaled(heights), plot.width * plot.marker.across)
        thick = settings.plain and line.tone == "smooth"
        cells = plot.marker.cells(raster.lit(low, high, plot.height * plot.marker.down, thick=thick))
        drawn = cells != ord(" ")
        canvas.codes[area][drawn] = cells[drawn]
        canvas.roles[area][drawn] = role_of(line)
    for line, one in series:
        if line.sparse or (settings.plain and (line.slot is not None or line.tone == "second")):
            sign = glyph(line, settings.marker, plain=settings.plain)
            _draw_signs(canvas, plot, one, heights, sign, role_of(line), apart=1 if line.sparse else 10)
        elif len(one.column) == 1:
            _draw_signs(canvas, plot, one, heights, "•", role_of(line), apart=1)


def _draw_signs(
    canvas: Canvas, plot: _Plot, one: Bins, heights: scale.Scale, sign: str, role: Role, *, apart: int
) -> None:
    """A sign at each sample, or at every so many where they would touch; the newest always has one."""
    columns = one.column[one.outside :].astype(np.intp) // plot.marker.across
    at = heights.at(one.last[one.outside :])
    rows = raster.dot_rows(at, plot.height * plot.marker.down) // plot.marker.down
    apart = max(apart, 2 if len(columns) > plot.width // 3 else 1)
    next_free = plot.width
    for column, row in zip(columns[::-1].tolist(), rows[::-1].tolist(), strict=True):
        if column <= next_free - apart or next_free == plot.width:
            canvas.put(plot.top + row, plot.left + column, sign, role)
            next_free = column


def _draw_cross(canvas: Canvas, plot: _Plot, edges: Floats, x: float) -> None:
    if not edges[0] <= x < edges[-1]:
        return
    column = plot.left + int(np.searchsorted(edges, x, side="right") - 1) // plot.marker.across
    rows = slice(plot.top, plot.top + plot.height)
    empty = canvas.roles[rows, column] <= Role.GRID
    canvas.codes[rows, column][empty] = ord("│")
    canvas.roles[rows, column] = Role.CROSS


def _write_header(canvas: Canvas, lines: Sequence[Series], settings: ChartSettings) -> None:
    """Title, unit, whether y is logarithmic; per series sign, name and value: the newest, or the crosshair's."""
    write = settings.x_format or (scale.clock if settings.x_label == "time" else scale.whole_number)
    place = "" if settings.cross is None else f"{settings.x_label} {write(settings.cross)}".strip()
    entries = [
        Entry(
            glyph(line, settings.marker, plain=settings.plain),
            line.name,
            _value(line, settings.cross, write),
            role_of(line),
        )
        for line in lines
    ]
    column, unit = 0, f"{settings.unit} log".strip() if settings.log_y else settings.unit
    for text, role in header(canvas.codes.shape[1], settings.title, unit, place, entries):
        canvas.put(0, column, text, role)
        column += len(text)


def _value(line: Series, cross: float | None, write: Callable[[float], str]) -> str:
    """The newest value, or the one nearest to the crosshair; for a sparse series with its x if that differs."""
    count = min(len(line.x), len(line.y))
    if not count:
        return "–"
    if cross is None:
        return scale.number(float(line.y[count - 1]))
    distance = np.abs(np.asarray(line.x[:count], np.float64) - cross)
    nearest = int(np.argmin(np.where(np.isnan(distance), np.inf, distance)))
    value, x = scale.number(float(line.y[nearest])), float(line.x[nearest])
    return f"{value} @ {write(x)}" if line.sparse and x != cross else value
