"""Charts of a report as PNG, SVG or PDF files, drawn by matplotlib (the `report` extra)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chomp.errors import ConfigError
from chomp.report.charts import AXIS_TITLES, Chart, Line

FORMATS = ("png", "svg", "pdf")
# Those of the page on white.
COLOURS = ("#006a99", "#b15c00", "#7847bd", "#3f7d20", "#c0223b", "#00796b", "#8a6d00", "#a0307a")
STROKES = ("-", "--", ":", "-.")


def require_matplotlib() -> None:
    """Refuse to draw files without the library.

    Raises:
        ConfigError: says how to install it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("charts as files need matplotlib; install it with: pip install 'chomp[report]'")


def write_charts(charts: Sequence[Chart], folder: Path, form: str) -> list[Path]:
    """Write one file for each chart, named by its key.

    Raises:
        OSError: a file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # A dollar sign in the name of a run is no formula; letters of an SVG stay letters.
    with rc_context({"text.parse_math": False, "svg.fonttype": "none", "axes.unicode_minus": False}):
        for chart in charts:
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            _draw(figure.subplots(), chart)
            path = folder / f"{chart.key}.{form}"
            figure.savefig(path, dpi=150)
            written.append(path)
    return written


def _draw(axes: Any, chart: Chart) -> None:
    for line in chart.lines:
        _draw_line(axes, line, is_alone=len({one.slot for one in chart.lines}) == 1)
    shown = chart.scale()
    if shown is not None and shown.low < shown.high:
        axes.set_ylim(shown.low, shown.high)
    for x, word in chart.marks:
        axes.axvline(x, color="#5d6687", linestyle=":", linewidth=1)
        axes.annotate(word, (x, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8, color="#5d6687")
    axes.set_title(chart.title, fontsize=11, loc="left")
    axes.set_xlabel(AXIS_TITLES[chart.axis])
    axes.grid(color="#e6e9f2")
    axes.spines[["top", "right"]].set_visible(False)
    # A label that begins with an underscore is left out of a legend, unless its line is handed over.
    handles = axes.get_lines()
    if len(chart.lines) > 1:
        axes.legend(handles, [line.name for line in chart.lines if line.low is None], fontsize=8, frameon=False)


def _draw_line(axes: Any, line: Line, *, is_alone: bool) -> None:
    colour = COLOURS[(1 if is_alone and line.role == "eval" else line.slot) % len(COLOURS)]
    if line.low is not None:
        axes.fill_between(line.x, line.low, line.y, color=colour, alpha=0.18, linewidth=0)
        return
    style: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": STROKES[line.slot // len(COLOURS) % 4]}
    if line.role == "raw":
        style |= {"alpha": 0.4, "linewidth": 0.8}
    if line.role == "eval":
        style |= {"marker": "o", "markersize": 4, "linestyle": "--", "linewidth": 1}
    axes.plot(line.x, line.y, **style)
