"""`backend: files`: tables through `datasets`, everything else as text, one file a document."""

import glob
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.heldout import Documents
from chomp.data.retry import RetryPolicy
from chomp.data.sources.badtext import OnBadText, find_bad_row, no_column, not_utf8, null_text
from chomp.data.sources.base import Document, RandomAccessSource, update_digest
from chomp.data.sources.build import Text, divide
from chomp.data.sources.column import TextColumn
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError

TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
"""Suffixes that are tables; a file of any other name is text."""


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open the files of `data.files`."""
    return divide(FilesSource(data), data)


class TextFiles:
    """Text files, read on access."""

    def __init__(self, paths: Sequence[Path], on_bad: OnBadText):
        self._paths = paths
        self._errors = "strict" if on_bad == "fail" else "replace"

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> str:
        path = self._paths[index]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; check data.files") from None
        try:
            return content.decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise not_utf8(path, content[error.start], error.start) from None


class FilesSource(RandomAccessSource):
    """The files of `data.files`: text files first seen first, then each kind of table.

    Args:
        data: the section.

    Raises:
        ConfigError: no files are named.
        DataError: a file is missing, empty, damaged or without the text column.
    """

    def __init__(self, data: DataConfig):
        self._paths = find_files(data.files)
        count = len(self._paths)
        self.name = f"the file {self._paths[0]}" if count == 1 else f"the {count:,} files of data.files"
        if not any(path.stat().st_size for path in self._paths):
            raise DataError(f"{self.name} {'is' if count == 1 else 'are'} empty; add text, or change data.files")
        self._parts: list[Documents] = []
        for kind, paths in _by_kind(self._paths).items():
            is_text = kind == "text"
            self._parts.append(TextFiles(paths, data.on_bad_text) if is_text else load_table(kind, paths, data))
        self._starts = [0, *accumulate(map(len, self._parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Document:
        part = bisect_right(self._starts, index) - 1
        return self._parts[part][index - self._starts[part]]

    def fingerprint(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        root = Path(os.path.commonpath([path.parent for path in self._paths]))
        for path in self._paths:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            update_digest(digest, path)
        return {
            "backend": "files",
            "files": len(self._paths),
            "bytes": sum(path.stat().st_size for path in self._paths),
            "documents": len(self),
            "digest": digest.hexdigest(),
        }


def find_files(patterns: Iterable[str]) -> list[Path]:
    """The files that paths and globs name, each once: in the order of the patterns, sorted within one.

    Raises:
        ConfigError: there are no patterns.
        DataError: a file is missing or a folder, or a glob matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            raise DataError(f"{pattern} in data.files is a folder; name its files, e.g. {pattern.rstrip('/')}/**/*.txt")
        elif glob.has_magic(pattern):
            hits = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
            matches = sorted((hit for hit in hits if hit.is_file()), key=lambda hit: hit.as_posix())
            if not matches:
                raise DataError(f"no file matches {pattern} in data.files; relative globs start at {Path.cwd()}")
        else:
            raise DataError(f"the file {pattern} in data.files does not exist; relative paths start at {Path.cwd()}")
        found.update(dict.fromkeys(match.resolve() for match in matches))
    if not found:
        raise ConfigError("data.files is empty: `data.backend: files` needs at least one path or glob")
    return list(found)


def _by_kind(paths: Iterable[Path]) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(TABLES.get(path.suffix.lower(), "text"), []).append(path)
    return kinds


def load_table(kind: str, paths: list[Path], data: DataConfig) -> TextColumn:
    """The text column of JSON, parquet or CSV files.

    Raises:
        DataError: naming the file, and the row or the columns, where that can be found out.
    """
    name = str(paths[0]) if len(paths) == 1 else f"{len(paths):,} {kind} files in data.files"
    for path in paths:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; remove it from data.files")
    options: dict[str, Any] = {}
    if kind == "parquet":
        _check_parquet(paths, data.text_key)
        options["columns"] = [data.text_key]
    elif kind == "csv":
        # By default the text "NA" or "null" and empty text would all turn into nulls.
        options["keep_default_na"] = False
        options["encoding_errors"] = "strict" if data.on_bad_text == "fail" else "replace"
    import datasets

    from chomp.data.sources.hf import quiet_datasets

    try:
        with quiet_datasets():
            files = [glob.escape(str(path)) for path in paths]
            dataset = datasets.load_dataset(kind, data_files=files, split="train", **options)
    except (ValueError, OSError, RuntimeError, StopIteration, datasets.exceptions.DatasetsError) as error:
        raise _first_problem(paths, data) or _unreadable(name, error) from error
    if any(column.startswith("__index_level_") for column in dataset.column_names):
        raise DataError(f"{name} has rows with more cells than its header; quote text that contains commas")
    return TextColumn(dataset, data.text_key, name, data.on_bad_text, partial(_explain_row, kind, paths, data))


def _check_parquet(paths: Iterable[Path], key: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            columns = pq.read_schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} is not a readable parquet file: {_first_line(error)}; replace it") from None
        if key not in columns:
            raise no_column(path, key, columns)


def _first_problem(paths: Iterable[Path], data: DataConfig) -> DataError | None:
    problems = (find_bad_row(path, data.text_key, data.on_bad_text) for path in paths if path.suffix != ".parquet")
    return next((problem for problem in problems if problem is not None), None)


def _explain_row(kind: str, paths: Sequence[Path], data: DataConfig, row: int, what: str) -> DataError:
    """The error for row number `row` of all the files together."""
    if kind != "parquet":
        problem = _first_problem(paths, data)
        if problem is not None:
            return problem
        return DataError(f"row {row + 1} of {paths[0].parent} is {what}; see data.on_bad_text")
    import pyarrow.parquet as pq

    for path in paths:
        rows = pq.read_metadata(path).num_rows
        if row < rows:
            break
        row -= rows
    place = f"{path}, row {row + 1},"
    return null_text(place, data.text_key) if what == "null" else DataError(
        f"{place} is {what}; repair it, or set data.on_bad_text: replace"
    )  # fmt: skip


def _unreadable(name: str, error: BaseException) -> DataError:
    cause = error.__cause__ or error
    return DataError(f"{name} cannot be read: {type(cause).__name__}: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").split("\n")[0]
