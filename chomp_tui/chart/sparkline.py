"""A curve as one line of text, or as a few."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from chomp.curves.bins import binned, mapped, samples
from chomp.curves.limits import WARM_UP, limits
from chomp.curves.scale import Floats, Scale
from chomp_tui.chart import raster

_FINE = 120
_EIGHTHS = np.array([ord(char) for char in " ▁▂▃▄▅▆▇█"], np.uint32)


def sparkline(
    values: ArrayLike,
    width: int,
    marker: str = raster.BRAILLE.name,
    *,
    height: int = 1,
    log: bool = False,
    ends: tuple[float, float] | None = None,
) -> str:
    """All values as text of exactly `width` columns and `height` rows; gaps and missing values are spaces.

    Args:
        marker: `braille` draws the line through all values, `block` bars up to the highest value of each column.
        log: logarithmic; values that are not above 0 are gaps then.
        ends: values at the bottom and at the top; None for the range of the calm part. What lies beyond is cut off.
    """
    y = np.asarray(values, np.float64).reshape(-1)
    if width < 1 or height < 1:
        return ""
    series = samples(np.arange(len(y)), y, positive=log)
    across = raster.BRAILLE.across if marker == raster.BRAILLE.name else 1
    bins = binned(series, _edges(len(y), width * across))
    if not len(bins.column):
        return "\n".join([" " * width] * height)
    if ends is None:
        # The columns are few: what is calm is looked for in finer ones.
        fine = binned(series, _edges(len(y), max(width * across, _FINE)))
        found = limits([fine], _FINE * WARM_UP, "together", log=log)
        ends = (found.low, found.high) if found is not None else (0.0, 0.0)
    scale = Scale(*ends, log=log)
    scaled = bins.scaled(scale)
    scaled = mapped(scaled, lambda at: np.clip(at, 0.0, 1.0))
    low, high = raster.strokes(scaled, width * across)
    if marker == raster.BRAILLE.name:
        cells = raster.BRAILLE.cells(raster.lit(low, high, height * raster.BRAILLE.down))
    else:
        high[scaled.column.astype(np.intp)] = scaled.high
        cells = _bars(high, height)
    return "\n".join(row.tobytes().decode("utf-32-le") for row in cells)


def _edges(count: int, columns: int) -> Floats:
    """Edges of columns that spread samples 0 … count - 1 over the whole width."""
    return np.linspace(-0.5, max(count, 1) - 0.5, columns + 1)


def _bars(heights: Floats, rows: int) -> raster.Codes:
    """Eighth blocks [rows, columns] up to heights between 0 and 1; the lowest bar is one eighth high.

    The highest leaves one eighth free, so that it does not touch what is above it.
    """
    shown = np.isfinite(heights)
    eighths = np.where(shown, 1 + np.rint(np.where(shown, heights, 0.0) * (rows * 8 - 2)), 0)
    below = np.arange(rows - 1, -1, -1)[:, None] * 8
    return _EIGHTHS[np.clip(eighths - below, 0, 8).astype(np.intp)]
