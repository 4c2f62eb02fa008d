"""A column of text in an Arrow table: memory-mapped, random access."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from chomp.data.sources.badtext import OnBadText, no_column, not_text
from chomp.errors import DataError


class TextColumn:
    """The texts of a loaded dataset.

    Args:
        dataset: a `datasets.Dataset`.
        key: the text column.
        name: of the data, for messages.
        on_bad: whether a null or invalid text is an error.
        explain: the error for a bad row, given its number and what is wrong with it.

    Raises:
        DataError: the column is missing, not text, or holds a null although `on_bad` is "fail".
    """

    def __init__(self, dataset: Any, key: str, name: str, on_bad: OnBadText, explain: Callable[[int, str], DataError]):
        if key not in dataset.column_names:
            raise no_column(name, key, dataset.column_names)
        column: pa.ChunkedArray = dataset.data.column(key)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise not_text(name, key, str(column.type))
        self._column = column
        self._replace = on_bad == "replace"
        self._explain = explain
        if column.null_count and not self._replace:
            raise explain(int(column.is_null().index(True).as_py()), "null")

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:
        value = self._column[index]
        if not value.is_valid:
            return ""
        try:
            return str(value.as_py())
        except UnicodeDecodeError as error:
            if self._replace:
                return bytes(value.as_buffer()).decode("utf-8", "replace")
            raise self._explain(index, f"not valid UTF-8 ({error.reason} at byte {error.start} of the text)") from None
