"""Lines of `metrics.jsonl` as columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chomp.record.columns import Block, Columns, block_of
from chomp.record.json_text import LARGEST_COUNT, natural

# Fewer bytes are parsed line by line: that is a few rows of a live run.
LEAST_TABLE_BYTES = 64 << 10
# How much of a long file is parsed at a time.
PIECE_BYTES = 32 << 20


def read_rows(path: Path) -> Columns:
    """All rows of a file that have a time; none without the file.

    A torn last line, and lines that are no rows, are ignored. Rows without a time were written by a version whose
    event log has them, too.
    """
    rows = Columns.empty()
    try:
        with path.open("rb") as file:
            rest = b""
            while piece := file.read(PIECE_BYTES):
                whole, newline, rest = (rest + piece).rpartition(b"\n")
                if newline:
                    rows = rows.append(timed(row_block(whole + newline)[0]))
    except FileNotFoundError:
        return Columns.empty()
    return rows


def timed(block: Block, after: int = -1) -> Block:
    """The rows of a block that have a time and lie after a step."""
    if "t" not in block:
        return {"step": np.empty(0)}
    keeps = (block["t"] > 0) & (block["step"] > after)
    return block if keeps.all() else {name: column[keeps] for name, column in block.items()}


def row_block(lines: bytes) -> tuple[Block, int]:
    """The rows of whole lines, and how many lines hold none."""
    block = table_block(lines) if len(lines) >= LEAST_TABLE_BYTES else None
    return plain_block(lines) if block is None else (block, 0)


def parse_row(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None where there is none."""
    try:
        # Text that is no UTF-8 costs only itself.
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def plain_block(lines: bytes) -> tuple[Block, int]:
    """The rows of whole lines, each parsed by itself, and how many lines hold none."""
    found = [parse_row(line) for line in lines.split(b"\n") if line.strip()]
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
