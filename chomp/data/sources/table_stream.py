"""Table files as a stream: one row after another, from a position that is a file and a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from chomp.data.sources.base import StreamCursor
from chomp.data.sources.formats import format_of
from chomp.data.sources.readers import Column, read_texts
from chomp.data.sources.watched import WatchedFiles


class TableCursor(StreamCursor):
    """Reads table files in order.

    Args:
        files: the files.
        watched: the same files, which must not change.
        column: what to read.
        position: where to go on, as `position` gave it; None for the beginning.
    """

    def __init__(self, files: Sequence[Path], watched: WatchedFiles, column: Column, position: str | None):
        self._files, self._watched, self._column = files, watched, column
        place = {"file": 0, "row": 0} if position is None else json.loads(position)
        self._file, self._row = place["file"], place["row"]
        self._rows = self._opened()

    def _opened(self) -> Iterator[str | None]:
        path = self._files[self._file]
        rows = (text for batch in read_texts(path, format_of(path), self._column) for text in batch.to_pylist())
        return islice(rows, self._row, None)

    def __next__(self) -> str:
        # One file for each document: there may be thousands.
        self._watched.check(self._files[self._file])
        end = object()
        while (text := next(self._rows, end)) is end:
            if self._file + 1 == len(self._files):
                raise StopIteration
            self._file, self._row = self._file + 1, 0
            self._watched.check(self._files[self._file])
            self._rows = self._opened()
        self._row += 1
        return str(text or "")

    def position(self) -> str:
        return json.dumps({"file": self._file, "row": self._row})


def is_position(cursor: str | None) -> bool:
    """Whether a saved cursor is one of `TableCursor`; older versions saved the state of a stream of `datasets`."""
    return cursor is None or json.loads(cursor).keys() == {"file", "row"}
