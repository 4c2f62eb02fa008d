"""`step` events on their way into columns: collected singly or in blocks, then put in place together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chomp.events import Step
from chomp_tui.follow.columns import Columns
from chomp_tui.follow.sane import natural, number

# Terms of the objective beside the loss (`chomp.step.objective`): most runs have none; of many heads the first count.
MOST_HEADS = 8
TERM_COLUMNS = ("smoothed_loss", "filtered_loss", "z_loss", *(f"mtp_loss_{head}" for head in range(1, MOST_HEADS + 1)))
# Columns of a run's rows, in floats; NaN where a row has no such value. `t` is Unix time in seconds.
ROW_COLUMNS = (
    "step", "t", "tokens_seen", "loss", "grad_norm", "lr", "lr_muon", "tokens_per_sec", "step_time_s", "mfu",
    "packing_utilization", "device_memory_gb", "peak_memory_gb", "device_memory_limit_gb", "host_memory_gb",
    *TERM_COLUMNS,
)  # fmt: skip
ROW_FIELDS = tuple(name for name in ROW_COLUMNS if name not in ("step", "t"))

# More rows than this do not wait.
MOST_WAITING_ROWS = 20_000

Block = dict[str, np.ndarray]


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

    def _gather_singles(self) -> None:
        if self._singles:
            table = np.array(self._singles, dtype=np.float64)
            self._blocks.append({name: table[:, i] for i, name in enumerate(("step", "t", *ROW_FIELDS))})
            self._singles = []

    def take(self) -> Block | None:
        """All rows as one block, or None if none waits."""
        self._gather_singles()
        blocks, self._blocks, self._count = self._blocks, [], 0
        if len(blocks) < 2:
            return blocks[0] if blocks else None
        names = {name: None for block in blocks for name in block}
        return {name: _joined(blocks, name) for name in names}


def _joined(blocks: list[Block], name: str) -> np.ndarray:
    return np.concatenate([block[name] if name in block else np.full(len(block["step"]), np.nan) for block in blocks])


def appended(columns: Columns, block: Mapping[str, np.ndarray]) -> Columns:
    """`columns` and then `block`; of two rows of one step, or where steps go back, the newer ones count."""
    steps = block["step"]
    lowest_after = np.minimum.accumulate(steps[::-1])[::-1]
    if len(columns) and lowest_after[0] <= columns["step"][-1]:
        columns = columns.cut(lowest_after[0] - 1)
    stays = np.append(steps[:-1] < lowest_after[1:], True)
    if not stays.all():
        block = {name: array[stays] for name, array in block.items()}
    return columns.extend(block)
