"""`step` events on their way into columns: collected singly or in blocks, then put in place together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chomp.record.columns import Columns
from chomp.record.events import Step, natural, number
from chomp.record.row_columns import ROW_COLUMNS, Block

ROW_FIELDS = tuple(name for name in ROW_COLUMNS if name not in ("step", "t"))

# More rows than this do not wait.
MOST_WAITING_ROWS = 20_000


class RowBlocks:
    """Rows that wait for their columns, in their order."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._singles: list[list[float]] = []
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._count > MOST_WAITING_ROWS

    def add(self, event: Step) -> bool:
        """Add one row; False if it names no step."""
        step = natural(event.row.get("step"))
        if step is None:
            return False
        self._singles.append([float(step), event.t, *(number(event.row.get(name)) for name in ROW_FIELDS)])
        self._count += 1
        return True

    def add_block(self, block: Mapping[str, np.ndarray]) -> None:
        """Add many rows: a column for each of their values, `step` and `t` among them."""
        self._gather_singles()
        self._blocks.append(dict(block))
        self._count += len(block["step"])

    def newest(self, name: str) -> float | None:
        """The value of the row added last; NaN where it has none, None where no row waits."""
        if self._singles:
            return self._singles[-1][ROW_COLUMNS.index(name)]
        if not self._blocks:
            return None
        block = self._blocks[-1]
        return float(block[name][-1]) if name in block else float("nan")

    def _gather_singles(self) -> None:
        if self._singles:
            table = np.array(self._singles, dtype=np.float64)
            self._blocks.append({name: table[:, i] for i, name in enumerate(ROW_COLUMNS)})
            self._singles = []

    def take(self) -> list[Block]:
        """All rows."""
        self._gather_singles()
        blocks, self._blocks, self._count = self._blocks, [], 0
        return blocks


def appended(columns: Columns, *blocks: Mapping[str, np.ndarray]) -> Columns:
    """`columns` and then `blocks`; of two rows of one step, or where steps go back, the newer ones count."""
    steps = np.concatenate([block["step"] for block in blocks])
    lowest_after = np.minimum.accumulate(steps[::-1])[::-1]
    if len(columns) and lowest_after[0] <= columns["step"][-1]:
        columns = columns.cut(lowest_after[0] - 1)
    stays = np.append(steps[:-1] < lowest_after[1:], True)
    if not stays.all():
        parts = np.split(stays, np.cumsum([len(block["step"]) for block in blocks])[:-1])
        blocks = tuple(
            {name: array[part] for name, array in block.items()} for block, part in zip(blocks, parts, strict=True)
        )
    return columns.extend(*blocks)
