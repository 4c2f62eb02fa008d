"""The text column of table files as a dataset, converted once into the cache of `datasets` under a hash of the content.

The builders of `datasets` infer types from texts and find earlier conversions by path and time. This one reads one
column as text, by `chomp.data.sources.readers`, and finds a conversion by what the files contain; the rest (locks, disk
space, complete or absent conversions, memory-mapping, splits, streams with a position) is theirs.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.builder import Key
from datasets.exceptions import DatasetGenerationError

from chomp.data.progress import ProgressMeter
from chomp.data.sources.formats import format_of
from chomp.data.sources.readers import Column, parquet_rows, read_texts
from chomp.data.sources.watched import WatchedFiles
from chomp.errors import DataError

CACHE_NAME = "chomp_text"
VERSION = 1
"""Of the readers: another one reads the same bytes as other texts."""


@dataclass
class TextTablesConfig(datasets.BuilderConfig):
    """What to read.

    Attributes:
        splits: the files of each split, in order.
        column: the column.
    """

    splits: dict[str, list[str]] = field(default_factory=dict)
    column: Column = field(default_factory=lambda: Column("text", "fail"))


class TextTables(datasets.ArrowBasedBuilder):
    """The text column of files of any table format."""

    BUILDER_CONFIG_CLASS = TextTablesConfig

    def _info(self) -> datasets.DatasetInfo:
        text = {self.config.column.key: datasets.Value("large_string")}
        return datasets.DatasetInfo(features=datasets.Features(text))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"files": files})
            for name, files in self.config.splits.items()
        ]

    def _generate_tables(self, files: Sequence[str]) -> Iterator[tuple[Key, pa.Table]]:
        column, kinds = self.config.column, [format_of(Path(name)) for name in files]
        # Only parquet files say how many rows they have.
        total = sum(parquet_rows(Path(name)) for name in files) if set(kinds) == {"parquet"} else None
        meter = ProgressMeter("converting tables", "rows", total)
        for number, (name, kind) in enumerate(zip(files, kinds, strict=True)):
            for index, texts in enumerate(read_texts(Path(name), kind, column)):
                meter.add(len(texts))
                yield Key(number, index), pa.table({column.key: texts})


def text_tables(splits: Mapping[str, Sequence[Path]], column: Column) -> tuple[TextTables, WatchedFiles]:
    """A builder over table files, and the files under watch.

    Raises:
        DataError: a file cannot be read, or the cache of `datasets` cannot be written.
    """
    files = {name: [str(path) for path in paths] for name, paths in splits.items()}
    watched = WatchedFiles(path for paths in splits.values() for path in paths)
    suffixes = [(name, [path.suffixes[-2:] for path in paths]) for name, paths in splits.items()]
    identity = hashlib.sha256(repr((VERSION, watched.digest(), suffixes, column)).encode()).hexdigest()
    with explained_cache():
        builder = TextTables(
            dataset_name=CACHE_NAME, hash=identity[:32], config_id="default", splits=files, column=column
        )
    return builder, watched


def load_texts(builder: TextTables, watched: WatchedFiles, split: str) -> datasets.Dataset:
    """Convert the files unless a conversion of the same content exists, and open it.

    Raises:
        DataError: a file cannot be used, was changed meanwhile, or the cache cannot be written.
        ValueError: there is no such split.
    """
    with explained_cache():
        try:
            builder.download_and_prepare()
        except DatasetGenerationError as error:
            raise (error.__cause__ or error) from None
        finally:
            watched.check()
        if not any(info.num_examples for info in builder.info.splits.values()):
            # datasets has no dataset without rows for a split of files.
            return datasets.Dataset.from_dict({name: [] for name in builder.info.features}, builder.info.features)
        return builder.as_dataset(split=split)


class TextTableColumn:
    """The texts of a converted table; null is the empty text."""

    def __init__(self, dataset: datasets.Dataset, key: str):
        self._column: pa.ChunkedArray = dataset.data.column(key)

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:
        return self._column[index].as_py() or ""


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keep `datasets` from printing progress bars and its own account of errors."""
    level = datasets.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


@contextmanager
def explained_cache() -> Iterator[None]:
    """Blame the cache of `datasets` for the errors of the file system that are its own.

    Raises:
        DataError: the cache cannot be written, or holds a damaged conversion.
    """
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        with quiet_datasets():
            yield
    except OSError as error:
        # datasets hands some on as text, behind a heading of its own, without a number or a name.
        reason = error.strerror or str(error).strip().split("\n")[-1]
        if not _is_of_cache(error, cache):
            raise
        raise DataError(
            f"the cache of datasets, {cache}, cannot be written: {reason}; set HF_HOME to a folder with room for the "
            f"text"
        ) from None
    except pa.ArrowInvalid as error:
        raise DataError(
            f"the cache of datasets, {cache}, holds a damaged conversion ({error}); delete its folder {CACHE_NAME}"
        ) from None


def _is_of_cache(error: OSError, cache: Path) -> bool:
    if error.filename is None:
        return f"[Errno {errno.ENOSPC}]" in str(error) or error.errno in (errno.ENOSPC, errno.EDQUOT)
    place = Path(os.fsdecode(error.filename))
    return place == cache or cache in place.parents or place in cache.parents
