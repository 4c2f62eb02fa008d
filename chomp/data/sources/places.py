"""Where rows of tables are: file and line, element or row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chomp.data.sources.formats import format_of, reading
from chomp.data.sources.readers import Column, csv_rows, json_rows, parquet_rows, read_texts


def row_places(files: Sequence[Path], column: Column, rows: Sequence[int]) -> list[str]:
    """The places of rows, counted from 0 over all of these tables in order.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[int, str] = {}
    first = 0
    for path in files:
        ahead = {row - first for row in rows if row >= first}
        if not ahead:
            break
        places, count = _places_in(path, column, ahead)
        found |= {first + row: place for row, place in places.items()}
        first += count
    return [found[row] for row in rows]


def _places_in(path: Path, column: Column, rows: set[int]) -> tuple[dict[int, str], int]:
    """The places of those rows that are in a table, and how many rows it has, as far as that matters."""
    kind = format_of(path)
    if kind in ("json", "csv"):
        found, last, count = dict[int, str](), max(rows), 0
        with reading(path):
            for place, _ in (json_rows if kind == "json" else csv_rows)(path, column):
                if count in rows:
                    found[count] = place
                count += 1
                if count > last:
                    break
        return found, count
    count = parquet_rows(path) if kind == "parquet" else sum(map(len, read_texts(path, kind, column)))
    return {row: f"{path}, row {row + 1:,}" for row in rows if row < count}, count
