"""`metrics.jsonl` read by blocks into columns, from its start and then as it grows and is cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from chomp.record.columns import Block, Columns
from chomp.record.json_text import natural
from chomp.record.row_blocks import parse_row, plain_block, row_block, timed
from chomp_tui.live.line_tail import LineTail

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
        after: rows up to this step are the parent's, of which a fork has copies.
        parent_rows: those.
    """

    def __init__(self, path: Path, after: int = 0):
        self.after = after
        super().__init__(path)

    def forget(self) -> None:
        super().forget()
        self.rows, self.parent_rows = Columns.empty(), Columns.empty()

    def take(self, lines: bytes) -> None:
        block, malformed = row_block(lines)
        self.malformed += malformed
        is_first = not len(self.rows)
        self.rows = self.rows.append(timed(block, self.after))
        if self.after and len(block["step"]) and block["step"][0] <= self.after:
            self.parent_rows = self.parent_rows.append(_up_to(block, self.after))
        if is_first and self.offset < self.size:
            self.rows.expect(int(len(self.rows) * self.size / self.offset * SPARE_ROOM))

    @property
    def shown(self) -> Columns:
        """The overview of a long file until all of it is read, else the rows."""
        return self.rows if self.overview is None else self.overview

    def summarize(self, pieces: list[bytes]) -> Columns:
        block, _ = plain_block(b"".join(pieces))
        return Columns.empty().append(timed(block, self.after))

    def recover(self, fd: int, size: int) -> None:
        """Find by bisection where the file begins to differ from what was read, by the times of its rows."""
        low, high, last = 0, min(size, self.offset), None
        while low < high:
            begin, line = _line_at(fd, (low + high) // 2, high)
            row = parse_row(line)
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


def _up_to(block: Block, last: int) -> Block:
    """The rows of a block up to a step."""
    keeps = block["step"] <= last
    return {name: column[keeps] for name, column in block.items()}


def _line_at(fd: int, place: int, high: int) -> tuple[int, bytes]:
    """The line that holds the byte at `place`, with its newline, and its offset; empty where it is torn or too long."""
    base = max(0, place - LONGEST_ROW_BYTES)
    data = os.pread(fd, min(high, place + LONGEST_ROW_BYTES) - base, base)
    begin = data.rfind(b"\n", 0, place - base) + 1
    end = data.find(b"\n", place - base) + 1
    return base + begin, data[begin:end]
