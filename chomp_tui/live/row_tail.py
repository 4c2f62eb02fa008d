"""`metrics.jsonl` read by blocks into columns, from its start and then as it grows and is cut."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from chomp.record.columns import Block, Columns, block_of
from chomp.record.events import LARGEST_COUNT, natural
from chomp_tui.live.line_tail import LineTail

# Fewer bytes are parsed line by line: that is a few rows of a live run.
LEAST_TABLE_BYTES = 64 << 10
# A longer line is no row.
LONGEST_ROW_BYTES = 64 << 10
# Rows may be shorter further on than where a file begins.
SPARE_ROOM = 1.1


class RowTail(LineTail[Columns]):
    """Collects the rows that were added to a file of metrics rows.

    Rows without a time were written by a version whose event log holds them as well; they are passed over. Where the
    file was cut (a resume, a rollback) the rows that stay are kept and not read again.

    Attributes:
        rows: those that have been read.
        after: rows up to this step are passed over: a fork has copies of its origin's.
    """

    def __init__(self, path: Path, after: int = 0):
        self.after = after
        super().__init__(path)

    def forget(self) -> None:
        super().forget()
        self.rows = Columns.empty()

    def take(self, lines: bytes) -> None:
        block = table_block(lines) if len(lines) >= LEAST_TABLE_BYTES else None
        if block is None:
            block, malformed = plain_block(lines)
            self.malformed += malformed
        is_first = not len(self.rows)
        self.rows = self.rows.append(_kept(block, self.after))
        if is_first and self.offset < self.size:
            self.rows.expect(int(len(self.rows) * self.size / self.offset * SPARE_ROOM))

    @property
    def shown(self) -> Columns:
        """The overview of a long file until all of it is read, else the rows."""
        return self.rows if self.overview is None else self.overview

    def summarize(self, pieces: list[bytes]) -> Columns:
        block, _ = plain_block(b"".join(pieces))
        return Columns.empty().append(_kept(block, self.after))

    def recover(self, fd: int, size: int) -> None:
        """Find by bisection where the file begins to differ from what was read, by the times of its rows."""
        low, high, last = 0, min(size, self.offset), None
        while low < high:
            begin, line = _line_at(fd, (low + high) // 2, high)
            row = _parse(line)
            if row is not None and self._holds(row):
                low, last = begin + len(line), row["step"]
            else:
                high = begin
        if last is None:
            self.forget()
            return
        self.rows = self.rows.cut(last)
        self._skipping = False
        self.go_to(fd, low)

    def _holds(self, row: dict[str, Any]) -> bool:
        """Whether this very row has been read."""
        step = natural(row.get("step"))
        place = int(np.searchsorted(self.rows["step"], step)) if step is not None else len(self.rows)
        return place < len(self.rows) and (self.rows["step"][place], self.rows["t"][place]) == (step, row.get("t"))


def _line_at(fd: int, place: int, high: int) -> tuple[int, bytes]:
    """The line that holds the byte at `place`, with its newline, and its offset; empty where it is torn or too long."""
    base = max(0, place - LONGEST_ROW_BYTES)
    data = os.pread(fd, min(high, place + LONGEST_ROW_BYTES) - base, base)
    begin = data.rfind(b"\n", 0, place - base) + 1
    end = data.find(b"\n", place - base) + 1
    return base + begin, data[begin:end]


def _kept(block: Block, after: int) -> Block:
    """The rows of a block that have a time and lie after a step."""
    if "t" not in block:
        return {"step": np.empty(0)}
    keeps = (block["t"] > 0) & (block["step"] > after)
    return block if keeps.all() else {name: column[keeps] for name, column in block.items()}


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        # Text that is no UTF-8 costs only itself.
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def plain_block(lines: bytes) -> tuple[Block, int]:
    """The rows of whole lines, each parsed by itself, and how many lines hold none."""
    found = [_parse(line) for line in lines.split(b"\n") if line.strip()]
    rows = [row for row in found if row is not None and natural(row.get("step")) is not None]
    return block_of(rows), len(found) - len(rows)


def table_block(lines: bytes) -> Block | None:
    """The rows of whole lines, parsed together; None where one of them is no row or is no plain JSON."""
    import pyarrow as arrow
    from pyarrow import json as arrow_json

    options = arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    try:
        table = arrow_json.read_json(arrow.BufferReader(lines), options)
        columns = dict(zip(table.column_names, table.columns, strict=True))
    except (arrow.ArrowException, UnicodeDecodeError):
        return None
    steps = columns.get("step")
    if steps is None or steps.null_count or not arrow.types.is_integer(steps.type) or len(steps) != lines.count(b"\n"):
        return None
    is_number = (arrow.types.is_integer, arrow.types.is_floating)
    block = {name: _floats(column) for name, column in columns.items() if any(test(column.type) for test in is_number)}
    in_range = (block["step"] >= 0) & (block["step"] <= LARGEST_COUNT)
    return block if in_range.all() else None


def _floats(column: Any) -> np.ndarray:
    """A column of numbers, NaN where there is none or one that is not finite.

    Of pyarrow's buffers, since its `to_numpy` imports pandas, which takes longer than to read 300,000 rows.
    """
    whole = column.combine_chunks().cast("float64", safe=False)
    values = np.frombuffer(whole.buffers()[1], np.float64, len(whole), 8 * whole.offset)
    missing = ~np.isfinite(values)
    if whole.null_count:
        missing |= np.from_dlpack(whole.is_null().cast("uint8")).astype(bool)
    return np.where(missing, np.nan, values) if missing.any() else values
