"""Cells with roles, to write on and to keep."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from chomp.curves.scale import Floats
from chomp_tui.chart.roles import Role

Span = tuple[str, Role]
_ROLES = tuple(Role)
# To move the cursor over so many cells takes as many bytes as to write them again.
_NEAR = 12


@dataclass(frozen=True, eq=False)
class Frame:
    """A drawn chart.

    Attributes:
        left: cells left of the plot.
        edges: edges of the dot columns, None where nothing was drawn.
        across: dot columns per cell.
    """

    canvas: Canvas
    left: int
    edges: Floats | None
    across: int

    @property
    def rows(self) -> tuple[tuple[Span, ...], ...]:
        """Texts with their roles, row by row; all rows are equally wide."""
        return tuple(self.canvas.row(row) for row in range(self.canvas.height))

    @property
    def text(self) -> str:
        """The chart as plain text."""
        return "\n".join("".join(text for text, _ in row).rstrip() for row in self.rows)

    def changes_from(self, other: Frame) -> list[tuple[int, int, int]]:
        """Cells that differ from those of a chart of the same size, as (row, first column, end)."""
        mine, theirs = self.canvas, other.canvas
        changed = (mine.codes != theirs.codes) | (mine.roles != theirs.roles)
        found: list[tuple[int, int, int]] = []
        for row in np.flatnonzero(changed.any(axis=1)).tolist():
            columns = np.flatnonzero(changed[row])
            cuts = np.flatnonzero(np.diff(columns) > _NEAR) + 1
            found += [(row, int(part[0]), int(part[-1]) + 1) for part in np.split(columns, cuts)]
        return found

    def column_of(self, x: float) -> int | None:
        """The cell, counted from the plot's left edge, in which a value of x falls."""
        if self.edges is None or not self.edges[0] <= x < self.edges[-1]:
            return None
        return int(np.searchsorted(self.edges, x, side="right") - 1) // self.across

    def x_between(self, column: int) -> tuple[float, float] | None:
        """The values of x that a cell of the plot covers."""
        if self.edges is None or not 0 <= column < (len(self.edges) - 1) // self.across:
            return None
        return float(self.edges[column * self.across]), float(self.edges[(column + 1) * self.across])


class Canvas:
    """Cells to write on; what does not fit is cut off."""

    def __init__(self, width: int, height: int):
        self.codes = np.full((height, width), ord(" "), np.uint32)
        self.roles = np.zeros((height, width), np.uint8)

    def put(self, row: int, column: int, text: str, role: Role) -> None:
        """Write text from one cell on."""
        height, width = self.codes.shape
        start, text = max(column, 0), text[max(-column, 0) :][: max(0, width - max(column, 0))]
        if text and 0 <= row < height:
            self.codes[row, start : start + len(text)] = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            self.roles[row, start : start + len(text)] = role

    @property
    def height(self) -> int:
        """Rows of cells."""
        return len(self.codes)

    def row(self, row: int) -> tuple[Span, ...]:
        """Runs of one role."""
        roles = self.roles[row]
        text = self.codes[row].tobytes().decode("utf-32-le")
        cuts = [0, *(np.flatnonzero(roles[1:] != roles[:-1]) + 1).tolist(), len(roles)]
        return tuple((text[start:end], _ROLES[roles[start]]) for start, end in pairwise(cuts) if end > start)
