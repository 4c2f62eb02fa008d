"""Finds the bad row of a file after reading has failed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from chomp.errors import DataError

OnBadText = Literal["fail", "replace"]
CHUNK_BYTES = 1 << 20


def not_utf8(path: Path | str, byte: int, offset: int) -> DataError:
    """The error for a byte that is not UTF-8."""
    return DataError(
        f"{path} is not valid UTF-8: byte 0x{byte:02x} at offset {offset}; convert the file, or set "
        f"data.on_bad_text: replace"
    )


def null_text(place: str, key: str) -> DataError:
    """The error for a row without text."""
    return DataError(
        f"{place} has no text: `{key}` is null or missing; remove the row, or set data.on_bad_text: replace to skip it"
    )


def no_column(name: Path | str, key: str, columns: Sequence[str]) -> DataError:
    """The error for data without the text column."""
    return DataError(
        f"{name} has no column `{key}`: its columns are {', '.join(sorted(columns))}; set data.text_key to one of them"
    )


def not_text(place: str, key: str, kind: str) -> DataError:
    """The error for a text column of another type."""
    return DataError(f"{place}: column `{key}` holds {kind}, not text; set data.text_key to a column of text")


def find_bad_utf8(path: Path) -> tuple[int, int] | None:
    """The first byte that is not UTF-8 and its offset, or None."""
    pending, base = b"", 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            content = pending + chunk
            try:
                content.decode("utf-8")
                pending, base = b"", base + len(content)
            except UnicodeDecodeError as error:
                if not chunk or error.end < len(content) or error.reason != "unexpected end of data":
                    return content[error.start], base + error.start
                pending, base = content[error.start :], base + error.start
            if not chunk:
                return None


def find_bad_row(path: Path, key: str, on_bad: OnBadText) -> DataError | None:
    """The first error in a JSON, JSON-lines or CSV file, or None.

    Args:
        path: the file.
        key: the text column.
        on_bad: under "replace" invalid UTF-8 and null rows are not wrong.
    """
    if on_bad == "fail" and (found := find_bad_utf8(path)):
        return not_utf8(path, *found)
    if path.suffix.lower() == ".csv":
        return None
    for place, row in _json_rows(path):
        if isinstance(row, DataError):
            return row
        if not isinstance(row, dict):
            return DataError(f"{place} is not a JSON object with a `{key}` field, but {_kind(row)}; see data.files")
        if row.get(key) is None:
            if on_bad == "fail":
                return null_text(place, key) if key in row else _missing(place, key, row)
        elif not isinstance(row[key], str):
            return not_text(place, key, _kind(row[key]))
    return None


def _missing(place: str, key: str, row: dict[str, Any]) -> DataError:
    return no_column(place, key, list(row)) if row else null_text(place, key)


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and value of each row; the value of the last is a DataError where the file stops being JSON."""
    with path.open("rb") as file:
        is_array = file.read(1) == b"["
        file.seek(0)
        if is_array:
            try:
                rows = json.loads(file.read().decode("utf-8", "replace"))
            except ValueError as error:
                yield str(path), _broken(path, getattr(error, "lineno", 1), error)
                return
            yield from ((f"{path}, element {number}", row) for number, row in enumerate(rows, 1))
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield f"{path}:{number}", json.loads(line.rstrip().decode("utf-8", "replace"))
            except ValueError as error:
                yield f"{path}:{number}", _broken(path, number, error)
                return


def _broken(path: Path, line: int, error: ValueError) -> DataError:
    reason = getattr(error, "msg", str(error))
    column = getattr(error, "colno", None)
    where = f" at column {column}" if column is not None else ""
    return DataError(f"{path}:{line} is not valid JSON ({reason}{where}); repair or remove the line")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "text" if isinstance(value, str) else "null")
