"""A chart as HTML: lines as inline SVG that stretches with the page, labels as text that does not."""

from __future__ import annotations

from html import escape

import numpy as np

from chomp.curves.scale import Scale, labels, nice_ticks, number, x_ticks
from chomp.record.formatting import one_line
from chomp.report.charts import AXIS_TITLES, COLUMNS, Chart, Line

# Of the drawing; it is stretched to the width of the page.
WIDTH, HEIGHT = 1000, 300
# Labels of x have room for so many characters.
X_CHARACTERS, Y_TICKS = 48, 6
SLOTS = 8
# Without colour, runs differ by their strokes.
DASHES = ("", "8 4", "2 3", "12 3 2 3", "5 2", "1 4", "10 6", "4 1")


def chart_html(chart: Chart) -> str:
    """The chart with axes, marks and legend; empty where no value can be shown."""
    up = chart.scale()
    if up is None:
        return ""
    x = np.concatenate([line.x[np.isfinite(line.x)] for line in chart.lines])
    # Room for the dot of the last evaluation.
    across = Scale(float(x.min()), float(x.max() + np.ptp(x) / 100))
    whole = chart.axis in ("step", "tokens")
    along = x_ticks(across.low, across.high, X_CHARACTERS, time=chart.axis == "time", whole=whole, text=None)
    upright = nice_ticks(up.low, up.high, Y_TICKS)
    body = "".join(_line(line, across, up) for line in chart.lines)
    y_labels = "".join(_label("y", up, *tick) for tick in zip(upright.tolist(), labels(upright), strict=True))
    x_labels = "".join(_label("x", across, *tick) for tick in along)
    note = chart.clipped(up)
    grid = _grid(across, up, [value for value, _ in along], upright.tolist())
    marks = "".join(_mark(x, word, across) for x, word in chart.marks)
    title, axis = escape(one_line(chart.title)), AXIS_TITLES[chart.axis]
    return (
        f'<figure class="chart" id="chart-{chart.key}"><figcaption>{title}</figcaption>'
        f'<div class="plot">{y_labels}{marks}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{title} by {axis}">'
        f'<path class="grid" d="{grid}"/>{body}</svg></div>'
        f'<div class="x">{x_labels}</div><p class="axis">{axis}{f" · {note}" if note else ""}</p>'
        f"{_legend(chart)}</figure>"
    )


def _grid(across: Scale, up: Scale, x_ticks: list[float], y_ticks: list[float]) -> str:
    rows = [f"M0 {_y(up, value):.1f}H{WIDTH}" for value in y_ticks]
    return "".join([*rows, *(f"M{_x(across, value):.1f} 0V{HEIGHT}" for value in x_ticks)])


def _line(line: Line, across: Scale, up: Scale) -> str:
    style = f'class="{line.role} s{line.slot % SLOTS}"'
    if line.low is not None:
        edge = [*_points(line.x, line.y, across, up), *reversed(_points(line.x, line.low, across, up))]
        return f'<path {style} d="M{"L".join(point for point in edge if point)}Z"/>' if edge else ""
    x, y = thinned(line.x, line.y, COLUMNS)
    points = _points(x, y, across, up)
    drawn = _path(points)
    if line.role == "eval":
        # A line without length and with round ends is a dot, and is not stretched.
        dots = "".join(f"M{point}h0" for point in points if point)
        return f'<path {style} d="{drawn}"/><path class="dots s{line.slot % SLOTS}" d="{dots}"/>'
    return f'<path {style}{_dash(line)} d="{drawn}"/>'


def _dash(line: Line) -> str:
    # The ninth run has the colour of the first, and another stroke.
    dash = DASHES[(line.slot + line.slot // SLOTS) % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _points(x: np.ndarray, y: np.ndarray, across: Scale, up: Scale) -> list[str]:
    """`x y` of each value inside the drawing or just beyond it; empty where there is none."""
    at_x = across.at(x) * WIDTH
    # Far outside of the range a renderer may lose precision.
    at_y = np.clip(HEIGHT * (1 - up.at(y)), -HEIGHT, 2 * HEIGHT)
    return [f"{a:.1f} {b:.1f}" if np.isfinite(b) else "" for a, b in zip(at_x, at_y, strict=True)]


def thinned(x: np.ndarray, y: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A series with at most the least and the greatest value of each column, so that every spike stays.

    Args:
        x: ascending; pairs without a finite x are left out. NaN in y stays where a column has nothing else.
    """
    kept = np.isfinite(x)
    x, y = x[kept].astype(np.float64), np.where(np.isfinite(y[kept]), y[kept], np.nan).astype(np.float64)
    if len(x) <= 2 * columns:
        return x, y
    place = np.minimum(((x - x[0]) / max(x[-1] - x[0], 1e-300) * columns).astype(np.int64), columns - 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    return np.repeat(x[starts], 2), np.stack([low, high], axis=1).ravel()


def _path(points: list[str]) -> str:
    """Points joined, with a gap where one is missing."""
    drawn, joins = [], False
    for point in points:
        if point:
            drawn.append(f"{'L' if joins else 'M'}{point}")
        joins = bool(point)
    return "".join(drawn)


def _x(across: Scale, value: float) -> float:
    return float(across.at(np.array(value)) * WIDTH)


def _y(up: Scale, value: float) -> float:
    return float(HEIGHT * (1 - up.at(np.array(value))))


def _label(axis: str, shown: Scale, value: float, text: str) -> str:
    place = 100 * float(shown.at(np.array(value)))
    side = f"top:{100 - place:.2f}%" if axis == "y" else f"left:{place:.2f}%"
    return f'<span class="{axis}-tick" style="{side}">{text}</span>'


def _mark(x: float, word: str, across: Scale) -> str:
    place = float(across.at(np.array(x)))
    return f'<span class="mark" style="left:{100 * place:.2f}%">{word}</span>' if 0 <= place <= 1 else ""


def _legend(chart: Chart) -> str:
    """The lines with their newest values; of several runs not the raw ones, which have the colour of their means."""
    is_alone = len({line.slot for line in chart.lines}) == 1
    items = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="{line.role} s{line.slot % SLOTS}"{_dash(line)} '
        f'd="M0 4H24"/></svg>{escape(one_line(line.name))} {_last(line)}</li>'
        for line in chart.lines
        if is_alone or line.role != "raw"
    )
    return f'<ul class="legend">{items}</ul>'


def _last(line: Line) -> str:
    """The newest value, for a line that has one."""
    if line.role in ("band", "zero") or not len(line.y) or not np.isfinite(line.y[-1]):
        return ""
    return f"<b>{number(float(line.y[-1]))}</b>"
