"""Reads the text column of tables: JSON, CSV, parquet and Arrow files, a batch of rows at a time.

A value of the column is text whatever it looks like: no reader infers a type from a text, and no other column is looked
at. Memory is bounded by a batch of rows, in parquet by a row group.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from chomp.data.sources.badtext import (
    OnBadText,
    find_bad_utf8,
    half_surrogate,
    no_column,
    not_text,
    not_utf8,
    null_text,
)
from chomp.data.sources.formats import (
    HEAD,
    LARGEST,
    Format,
    check_head,
    check_pointer,
    open_binary,
    read_head,
    reading,
    split_suffix,
)
from chomp.errors import DataError

BATCH_ROWS = 1000
BATCH_BYTES = 1 << 24
"""Characters after which a batch of fewer rows ends."""
BOM = b"\xef\xbb\xbf"
AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
Row = tuple[str, str | None]
"""Where a row is, for messages, and its text."""


@dataclass(frozen=True)
class Column:
    """The column to read.

    Attributes:
        key: its name.
        on_bad: under "replace" invalid UTF-8 is replaced and a row without text is null, not an error.
    """

    key: str
    on_bad: OnBadText

    @property
    def errors(self) -> str:
        """The error handler of decoding."""
        return "strict" if self.on_bad == "fail" else "replace"

    def missing(self, error: DataError) -> None:
        """A row without text: null, or an error."""
        if self.on_bad == "fail":
            raise error

    def checked(self, place: str, text: str) -> str:
        """A text that UTF-8 can express."""
        try:
            text.encode()
        except UnicodeEncodeError:
            if self.on_bad == "fail":
                raise half_surrogate(place, self.key) from None
            return text.encode("utf-8", "replace").decode()
        return text


def read_texts(path: Path, kind: Format, column: Column) -> Iterator[pa.Array]:
    """The texts of one table, in order, as arrays of large strings; null for a row without text.

    Raises:
        DataError: naming the file, and the row, the line or the columns.
    """
    with reading(path):
        yield from READERS[kind](path, column)


def parquet_rows(path: Path) -> int:
    """The number of rows of a parquet file, by its description.

    Raises:
        DataError: the file cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return int(_parquet_file(path, file).metadata.num_rows)


def first_texts(path: Path, key: str, size: int) -> list[str]:
    """The first texts of a parquet file, up to about so many characters.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    texts: list[str] = []
    for value in next(read_texts(path, "parquet", Column(key, "replace")), ()):
        if size <= 0:
            break
        texts.append(value.as_py() or "")
        size -= len(texts[-1])
    return texts


# JSON and CSV: by the standard library, row by row ---------------------------------------


def _json(path: Path, column: Column) -> Iterator[pa.Array]:
    yield from _batches(json_rows(path, column))


def json_rows(path: Path, column: Column) -> Iterator[Row]:
    """The rows of a JSON file, as lines or as an array."""
    head = read_head(path)
    check_head(path, head)
    start = head.removeprefix(BOM).lstrip()
    whole = start.startswith(b"[") or (split_suffix(path)[0] == ".json" and not _is_line(head))
    with open_binary(path) as file:
        yield from _array(path, file, column) if whole else _lines(path, file, column)


def _lines(path: Path, file: BinaryIO, column: Column) -> Iterator[Row]:
    """JSON lines."""
    offset = 0
    number = 0
    while line := file.readline(LARGEST):
        number += 1
        place = f"{path}:{number}"
        if len(line) == LARGEST:
            raise DataError(f"{place} is longer than {LARGEST >> 30} GiB; divide it into several documents")
        if content := (line.removeprefix(BOM) if number == 1 else line).strip():
            try:
                text = content.decode("utf-8", column.errors)
            except UnicodeDecodeError as error:
                raise not_utf8(path, content[error.start], offset + line.index(content) + error.start) from None
            yield place, _field(place, _parsed(path, number, text), column)
        offset += len(line)


def _array(path: Path, file: BinaryIO, column: Column) -> Iterator[Row]:
    """A JSON array of objects, or one object, read as a whole."""
    content = file.read(LARGEST)
    if len(content) == LARGEST:
        raise DataError(
            f"{path} is a JSON array of more than {LARGEST >> 30} GiB, which is read as a whole; write JSON lines, one "
            f"object per line"
        )
    try:
        text = content.decode("utf-8-sig", column.errors)
    except UnicodeDecodeError as error:
        raise not_utf8(path, content[error.start], error.start) from None
    rows = _parsed(path, 1, text)
    if not isinstance(rows, list):
        yield str(path), _field(str(path), rows, column)
        return
    for number, row in enumerate(rows, 1):
        place = f"{path}, element {number}"
        yield place, _field(place, row, column)


def _is_line(head: bytes) -> bool:
    """Whether the first line is JSON by itself, as far as it is known."""
    first, end, _ = head.removeprefix(BOM).lstrip().partition(b"\n")
    if not end:
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        raise DataError(
            f"{path}:{at} is not valid JSON ({error.msg} at column {error.colno}); repair or remove the line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line} is not JSON that Python reads ({error}); repair or remove the line") from None


def _field(place: str, row: Any, column: Column) -> str | None:
    """The text of an object; None for a row without text."""
    key = column.key
    if not isinstance(row, dict):
        raise DataError(f"{place} is not a JSON object with a `{key}` field, but {_kind(row)}; see data.text_key")
    value = row.get(key)
    if value is None:
        column.missing(null_text(place, key) if key in row or not row else no_column(place, key, list(row)))
        return None
    if not isinstance(value, str):
        raise not_text(place, key, _kind(value))
    return column.checked(place, value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "null")


def _csv(path: Path, column: Column) -> Iterator[pa.Array]:
    yield from _batches(csv_rows(path, column))


def csv_rows(path: Path, column: Column) -> Iterator[Row]:
    """The rows of a CSV file behind its header."""
    csv.field_size_limit(1 << 30)
    check_head(path, head := read_head(path))
    if not head:
        return
    with open_binary(path) as file, io.TextIOWrapper(file, "utf-8-sig", column.errors, newline="") as lines:
        delimiter = "\t" if split_suffix(path)[0] == ".tsv" else ","
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            yield from _cells(path, rows, column)
        except csv.Error as error:
            raise DataError(f"{path}:{rows.line_num} is not valid CSV ({error}); repair or remove the row") from None
        except UnicodeDecodeError:
            with open_binary(path) as again:
                found = find_bad_utf8(again)
            assert found is not None
            raise not_utf8(path, *found) from None


def _cells(path: Path, rows: Any, column: Column) -> Iterator[Row]:
    header: list[str] = next(rows, [])
    if column.key not in header:
        raise no_column(path, column.key, header)
    index = header.index(column.key)
    for cells in rows:
        place = f"{path}:{rows.line_num}"
        if len(cells) > len(header):
            raise DataError(f"{place} has more cells than the header; quote text that contains commas")
        if index < len(cells):
            yield place, column.checked(place, cells[index])
        elif cells:
            column.missing(null_text(place, column.key))
            yield place, None


def _batches(rows: Iterator[Row]) -> Iterator[pa.Array]:
    texts: list[str | None] = []
    size = 0
    for _, text in rows:
        texts.append(text)
        size += len(text or "")
        if len(texts) == BATCH_ROWS or size > BATCH_BYTES:
            yield pa.array(texts, pa.large_string())
            texts, size = [], 0
    if texts:
        yield pa.array(texts, pa.large_string())


# Parquet and Arrow: by pyarrow -----------------------------------------------------------


def _parquet(path: Path, column: Column) -> Iterator[pa.Array]:
    with path.open("rb") as file:
        table = _parquet_file(path, file)
        _require_text(path, table.schema_arrow, column)
        batches = table.iter_batches(batch_size=BATCH_ROWS, columns=[column.key])
        yield from _valid(path, (batch.column(0) for batch in batches), column)


def _parquet_file(path: Path, file: BinaryIO) -> pq.ParquetFile:
    _check_not_pointer(path, file)
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a readable parquet file: {reason}; replace it") from None


def _arrow(path: Path, column: Column) -> Iterator[pa.Array]:
    with path.open("rb") as file:
        _check_not_pointer(path, file)
        try:
            reader = pa.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        except pa.ArrowInvalid:
            # What `datasets` writes is a stream of batches without the index of an Arrow file.
            file.seek(0)
            reader = pa.ipc.open_stream(file)
            batches = iter(reader)
        _require_text(path, reader.schema, column)
        yield from _valid(path, (batch.column(column.key) for batch in batches), column)


def _check_not_pointer(path: Path, file: BinaryIO) -> None:
    """Refuse a Git LFS pointer; the position in the file stays."""
    head = file.read(HEAD)
    file.seek(0)
    check_pointer(path, head)


def _require_text(path: Path, schema: pa.Schema, column: Column) -> None:
    if column.key not in schema.names:
        raise no_column(path, column.key, schema.names)
    kind = schema.field(column.key).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text: tuple[Callable[[pa.DataType], bool], ...] = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
    )  # fmt: skip
    if not any(check(kind) for check in is_text):
        raise not_text(str(path), column.key, str(kind))


def _valid(path: Path, arrays: Iterator[pa.Array], column: Column) -> Iterator[pa.Array]:
    """The arrays as large strings of valid UTF-8; the first row without text, or with another, is an error."""
    first = 1
    for array in arrays:
        values = _as_bytes(array)
        if values.null_count and column.on_bad == "fail":
            raise null_text(f"{path}, row {first + values.is_null().index(True).as_py()},", column.key)
        try:
            texts = values.cast(pa.large_string())
        except pa.ArrowInvalid:
            texts = pa.array(_decoded(path, values, first, column), pa.large_string())
        yield texts
        first += len(array)


def _as_bytes(array: pa.Array) -> pa.Array:
    """The texts as large binary, of which no offset and no index points outside: others end the process in Arrow.

    Raises:
        pa.ArrowInvalid: the array is damaged.
    """
    array.validate()
    if pa.types.is_null(array.type):
        return array.cast(pa.large_binary())
    if pa.types.is_dictionary(array.type):
        array = pa.DictionaryArray.from_arrays(array.indices, _as_bytes(array.dictionary))
        array.validate(full=True)
        return array.dictionary_decode()
    # A view of the same buffers, of which the full validation looks at all but UTF-8.
    values = array.cast(AS_BYTES[array.type])
    values.validate(full=True)
    return values.cast(pa.large_binary())


def _decoded(path: Path, values: pa.Array, first: int, column: Column) -> Iterator[str | None]:
    for number, value in enumerate(values, first):
        content = value.as_py()
        try:
            yield None if content is None else content.decode("utf-8", column.errors)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, row {number}, is not valid UTF-8 ({error.reason} at byte {error.start} of the text); repair "
                f"it, or set data.on_bad_text: replace"
            ) from None


READERS: dict[Format, Callable[[Path, Column], Iterator[pa.Array]]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
}
