"""A whole chart as rows of characters with roles: header, axes, grid, curves, crosshair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from chomp.curves import scale
from chomp.curves.bins import Bins, Samples, binned, samples
from chomp.curves.limits import WARM_UP, Range, clipped, limits
from chomp.curves.scale import Floats, Scale
from chomp_tui.chart import raster
from chomp_tui.chart.axis import Axis, axis
from chomp_tui.chart.canvas import Canvas, Frame
from chomp_tui.chart.curves import Plot, draw_curves
from chomp_tui.chart.header import MOST_UNNAMED, Entry, Spans, header
from chomp_tui.chart.roles import Role, glyph, role_of
from chomp_tui.chart.series import Series
from chomp_tui.chart.window import Window, column_edges

# Cells across that a plot is given before its labels are.
LEAST_PLOT = 8
# A narrower heading has room for the values alone.
_LEAST_NOTED = 40


@dataclass(frozen=True)
class ChartSettings:
    """Everything but the data that a chart depends on.

    Attributes:
        unit: of y, shown behind the title.
        x_label: what x counts; `time` makes it seconds, with ticks at round times.
        x_format: how to write an x value, instead of the usual.
        shown: which values set the range of y: all, or those of the calm part of the curves.
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
    shown: Range = "together"
    plain: bool = False
    cross: float | None = None


@dataclass(frozen=True, eq=False)
class _Layout:
    """What follows from so many cells left of the plot: dot columns, what falls into them, and the vertical axis."""

    left: int
    edges: Floats
    bins: Sequence[Bins]
    axis: Axis | None

    @property
    def wanted(self) -> int:
        """Cells that the labels need."""
        return max((len(text) + 1 for _, text in self.axis.ticks), default=0) if self.axis is not None else 0


@dataclass(frozen=True, eq=False)
class _Data:
    """Series as samples, and the rectangle for their curves.

    Attributes:
        kept: which series are shown wherever they are: evaluations of one run.
    """

    series: Sequence[Samples]
    kept: Sequence[bool]
    first: float
    last: float
    width: int
    rows: int
    settings: ChartSettings

    def laid_out(self, left: int) -> _Layout:
        """The layout with so many cells for labels."""
        settings, marker = self.settings, raster.MARKERS[self.settings.marker]
        edges = column_edges(self.first, self.last, (self.width - left) * marker.across, settings.window)
        bins = [binned(one, edges) for one in self.series]
        warm = np.searchsorted(edges, self.first + (self.last - self.first) * WARM_UP)
        found = limits(bins, float(warm), settings.shown, log=settings.log_y, kept=self.kept)
        made = None if found is None else axis(found.low, found.high, self.rows, marker.down, log=settings.log_y)
        return _Layout(left, edges, bins, made)

    def settled(self, left: int) -> _Layout:
        """A layout with room for its labels. Labels depend on the values shown, and those on the columns of the plot.

        Args:
            left: cells of the labels in the picture before: mostly they are as many again, and that is tried first.
        """
        if 0 < left <= self.width - LEAST_PLOT:
            layout = self.laid_out(left)
            if layout.wanted == left:
                return layout
        layout = self.laid_out(0)
        for _ in range(2):
            if layout.wanted <= layout.left or self.width - layout.wanted < LEAST_PLOT:
                break
            layout = self.laid_out(layout.wanted)
        return layout


def draw(lines: Sequence[Series], width: int, height: int, settings: ChartSettings, left: int = 0) -> Frame:
    """Draw a chart of exactly so many cells; never raises on any data or size.

    Args:
        left: cells left of the plot in the picture before.
    """
    canvas = Canvas(max(width, 0), max(height, 0))
    marker = raster.MARKERS[settings.marker]
    series = [samples(line.x, line.y, positive=settings.log_y) for line in lines]
    heading = _heading(lines, width, settings, _most_heading_rows(len(lines), height)) if height >= 3 else []
    with_axis = height >= 5 and width >= 8
    rows = height - len(heading) - with_axis
    if width < 1 or rows < 1:
        return Frame(canvas, 0, None, marker.across)
    ends = [one.x[[0, -1]] for one in series if not one.empty]
    if not ends:
        _write(canvas, heading)
        _say(canvas, len(heading), rows, _why_empty(lines, settings))
        return Frame(canvas, 0, None, marker.across)
    first, last = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    kept = [line.sparse and line.slot is None for line in lines]
    layout = _Data(series, kept, first, last, width, rows, settings).settled(left)
    plot = Plot(layout.left, len(heading), width - layout.left, rows, marker)
    note = ""
    if layout.axis is None:
        _say(canvas, plot.top, rows, "no values here")
    else:
        _draw_rows(canvas, plot, layout.axis)
        draw_curves(canvas, plot, lines, layout.bins, layout.axis.scale, plain=settings.plain)
        has_raw = any(line.tone == "raw" for line in lines)
        counted = [one for one, line in zip(series, lines, strict=True) if not (has_raw and line.tone == "smooth")]
        note = _clipped(counted, layout.edges, layout.axis.scale)
    if heading and note:
        note, heading = _with_note(lines, width, settings, heading, note)
    _write(canvas, heading, note)
    if with_axis:
        _draw_columns(canvas, plot, layout.edges, lines, settings)
    if settings.cross is not None:
        _draw_cross(canvas, plot, layout.edges, settings.cross)
    return Frame(canvas, layout.left, layout.edges, marker.across)


def _with_note(
    lines: Sequence[Series], width: int, settings: ChartSettings, heading: list[Spans], note: str
) -> tuple[str, list[Spans]]:
    """The note in full or shortened, and a heading with room for it; the names of the series come first."""
    for said in (note, note.removesuffix(" clipped")):
        made = _heading(lines, width, settings, len(heading), taken=len(said) + 2)
        fits = sum(len(text) for text, _ in made[0]) + len(said) + 2 <= width
        if fits and made == heading:
            return said, made
    return (said, made) if fits and width >= _LEAST_NOTED else ("", heading)


def _most_heading_rows(series: int, height: int) -> int:
    return max(1, min(4, height // 6 - 1)) if series > MOST_UNNAMED else 1


def _why_empty(lines: Sequence[Series], settings: ChartSettings) -> str:
    given = [np.asarray(line.y, np.float64) for line in lines if min(len(line.x), len(line.y))]
    if not given:
        return "no data yet"
    finite = any(bool(np.isfinite(y).any()) for y in given)
    return "no values above 0" if settings.log_y and finite else "no finite values"


def _say(canvas: Canvas, top: int, rows: int, text: str) -> None:
    width = canvas.codes.shape[1]
    canvas.put(top + (rows - 1) // 2, max(0, (width - len(text)) // 2), text, Role.MUTED)


def _clipped(counted: Sequence[Samples], edges: Floats, shown: Scale) -> str:
    """How many samples of the columns lie above and below the plot."""
    columns = [slice(*np.searchsorted(one.x, edges[[0, -1]])) for one in counted]
    return clipped((one.y[part] for one, part in zip(counted, columns, strict=True)), shown.low, shown.high)


def _draw_rows(canvas: Canvas, plot: Plot, made: Axis) -> None:
    """Labels and faint lines of the vertical axis."""
    for row, text in made.ticks:
        if len(text) < plot.left:
            canvas.put(plot.top + row, plot.left - 1 - len(text), text, Role.MUTED)
            canvas.put(plot.top + row, plot.left, "·" * plot.width, Role.GRID)


def _draw_columns(canvas: Canvas, plot: Plot, edges: Floats, lines: Sequence[Series], settings: ChartSettings) -> None:
    """Labels of the horizontal axis, and what it counts at its right end."""
    row, width = plot.top + plot.height, plot.left + plot.width
    unit = settings.x_label if len(settings.x_label) <= plot.width // 3 else ""
    limit = width - (len(unit) + 1 if unit else 0)
    choices = scale.x_tick_choices(
        float(edges[0]),
        float(edges[-1]),
        plot.width - (len(unit) + 1),
        time=settings.x_label == "time",
        whole=all(_whole(line.x) for line in lines),
        text=settings.x_format,
    )
    # Of as many, those that were found first: they have a word for the end of the axis, where the unit is not.
    placed = max((_placed(ticks, plot, edges, limit) for ticks in choices), key=len, default=[])
    for start, label in placed:
        canvas.put(row, start, label, Role.MUTED)
    canvas.put(row, width - len(unit), unit, Role.MUTED)


def _placed(ticks: list[tuple[float, str]], plot: Plot, edges: Floats, limit: int) -> list[tuple[int, str]]:
    """Labels with the cells in which they begin; without those for which there is no room left of `limit`."""
    free, placed = 0, []
    for value, label in ticks:
        cell = plot.left + int(np.searchsorted(edges, value, side="right") - 1) // plot.marker.across
        start = max(0, cell - len(label) // 2)
        if start >= free and start + len(label) <= limit:
            placed.append((start, label))
            free = start + len(label) + 2
    return placed


def _whole(x: NDArray[np.generic]) -> bool:
    if not len(x):
        return True
    some = np.asarray(x[[0, len(x) // 2, -1]], np.float64)
    return bool(np.all(some == np.rint(some)))


def _draw_cross(canvas: Canvas, plot: Plot, edges: Floats, x: float) -> None:
    if not edges[0] <= x < edges[-1]:
        return
    column = plot.left + int(np.searchsorted(edges, x, side="right") - 1) // plot.marker.across
    rows = slice(plot.top, plot.top + plot.height)
    empty = canvas.roles[rows, column] <= Role.GRID
    canvas.codes[rows, column][empty] = ord("│")
    canvas.roles[rows, column] = Role.CROSS


def _heading(lines: Sequence[Series], width: int, settings: ChartSettings, rows: int, taken: int = 0) -> list[Spans]:
    """Title, unit, whether y is logarithmic; per series sign, name and value: the newest, or the crosshair's."""
    write = settings.x_format or (scale.clock if settings.x_label == "time" else scale.whole_number)
    place = "" if settings.cross is None else f"{settings.x_label} {write(settings.cross)}".strip()
    unit = f"{settings.unit} log".strip() if settings.log_y else settings.unit
    return header(width, settings.title, unit, place, _entries(lines, settings, write), rows=rows, taken=taken)


def _entries(lines: Sequence[Series], settings: ChartSettings, write: Callable[[float], str]) -> list[Entry]:
    """The series with their values; evaluations of a run among several are values of that run."""
    made: list[Entry] = []
    of_slot: dict[int, int] = {}
    for line in lines:
        value = _value(line, settings.cross, write)
        if line.slot is not None and line.sparse and line.slot in of_slot:
            place = of_slot[line.slot]
            made[place] = replace(made[place], value=f"{made[place].value} eval {value}")
            continue
        if line.slot is not None:
            of_slot.setdefault(line.slot, len(made))
        made.append(Entry(glyph(line, settings.marker, plain=settings.plain), line.name, value, role_of(line)))
    return made


def _write(canvas: Canvas, heading: list[Spans], note: str = "") -> None:
    for row, spans in enumerate(heading):
        column = 0
        for text, role in spans:
            canvas.put(row, column, text, role)
            column += len(text)
    if heading:
        canvas.put(0, canvas.codes.shape[1] - len(note), note, Role.CLIP)


def _value(line: Series, cross: float | None, write: Callable[[float], str]) -> str:
    """The newest value, or the one nearest to the crosshair; for a sparse series with its x if that differs."""
    count = min(len(line.x), len(line.y))
    if not count:
        return "–"
    if cross is None:
        return scale.number(float(line.y[count - 1]))
    after = min(int(np.searchsorted(line.x[:count], cross)), count - 1)
    before = max(after - 1, 0)
    nearest = before if abs(float(line.x[before]) - cross) <= abs(float(line.x[after]) - cross) else after
    value, x = scale.number(float(line.y[nearest])), float(line.x[nearest])
    return f"{value} @ {write(x)}" if line.sparse and x != cross else value
