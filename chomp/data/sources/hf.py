"""`backend: hf`: datasets of the Hugging Face hub, or of a local folder in its layout: streamed or downloaded."""

import errno
import json
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.retry import RetryPolicy
from chomp.data.sources.badtext import no_column, not_text, null_text
from chomp.data.sources.base import RandomAccessSource, StreamCursor, StreamSource, digest_documents
from chomp.data.sources.build import Text, divide, divide_stream, set_aside, set_aside_stream
from chomp.data.sources.column import TextColumn
from chomp.data.sources.formats import format_of
from chomp.data.sources.places import row_places
from chomp.data.sources.readers import Column
from chomp.data.sources.table_stream import TableCursor, is_position
from chomp.data.sources.tables import TextTableColumn, explained_cache, load_texts, text_tables
from chomp.data.sources.watched import WatchedFiles
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError

SAMPLED_DOCUMENTS = 64
"""Number of evenly spread documents whose content enters the fingerprint of a downloaded dataset."""
PASSING_STATUSES = frozenset({408, 425, 429})
"""Client errors of HTTP that a later attempt may not meet."""


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open a dataset, streamed or downloaded."""
    held_out = data.hf_eval_split
    if held_out == data.hf_split:
        raise ConfigError(
            f"data.hf_eval_split and data.hf_split are both {data.hf_split}: evaluation text would be training text; "
            f"choose another split, or null to hold out documents"
        )
    # At the first contact nothing is lost yet, and the hub's client has tried for half a minute by itself.
    opening = replace(retry, max_retries=0)
    data = opening.call(describe_split(data, data.hf_split), retriable_errors(), lambda: pinned(data))
    if data.hf_streaming:
        stream = HubStream(data, data.hf_split)
        opening.call(stream.name, stream.retriable, stream.reach)
        if held_out is None:
            return divide_stream(stream, data, retry)
        return set_aside_stream(stream, HubStream(data, held_out), data, retry, rule="split", split=held_out)
    source = HubSplit(data, data.hf_split, opening)
    if held_out is None:
        return divide(source, data)
    return set_aside(source, HubSplit(data, held_out, opening), data, rule="split", split=held_out)


class HubSplit(RandomAccessSource):
    """A downloaded split, or one of a local folder."""

    def __init__(self, data: DataConfig, split: str, retry: RetryPolicy):
        self.name = describe_split(data, split)
        self._facts = split_facts(data, split)
        self._column: TextColumn | TextTableColumn
        self._text_column = Column(data.text_key, data.on_bad_text)
        local = local_tables(data, split)
        # A part of a split, or several, begins at another row.
        self._files = local[split] if local is not None and split in local else []
        if local is not None:
            builder, watched = text_tables(local, self._text_column)
            self._facts["content"] = watched.digest()
            with explained(self.name):
                self._column = TextTableColumn(load_texts(builder, watched, split), data.text_key)
            return
        dataset = retry.call(self.name, retriable_errors(), partial(load_split, data, split, streaming=False))
        self._column = TextColumn(dataset, data.text_key, self.name, data.on_bad_text, partial(self._explain, data))

    def _explain(self, data: DataConfig, row: int, what: str) -> DataError:
        place = f"document {row} of {self.name}"
        return null_text(place, data.text_key) if what == "null" else DataError(
            f"{place} is {what}; set data.on_bad_text: replace"
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:
        return self._column[index]

    def places(self, positions: Sequence[int]) -> list[str]:
        if self._files:
            return row_places(self._files, self._text_column, positions)
        return [f"row {position} of {self.name}" for position in positions]

    def fingerprint(self) -> dict[str, Any]:
        count = min(SAMPLED_DOCUMENTS, len(self))
        sample = [self[index * len(self) // count] for index in range(count)]
        return {**self._facts, "documents": len(self), "digest": digest_documents(sample)}


class HubStream(StreamSource):
    """A streamed split, in its stored order; its own shuffling is never used, for it is not part of its cursor."""

    def __init__(self, data: DataConfig, split: str):
        self.name = describe_split(data, split)
        self.retriable = retriable_errors()
        self._data = data
        self._split = split

    @cached_property
    def _unread(self) -> bytes:
        """The unread dataset, pickled."""
        return pickle.dumps(load_split(self._data, self._split, streaming=True))

    @cached_property
    def _tables(self) -> tuple[list[Path], WatchedFiles] | None:
        """The tables of a local folder, watched; None for the hub."""
        local = local_tables(self._data, self._split)
        if local is None:
            return None
        if "[" in self._split:
            raise DataError(f"{self.name} is a part of a split, which cannot be streamed; set data.hf_streaming: false")
        files = [path for paths in local.values() for path in paths]
        return files, WatchedFiles(files)

    def reach(self) -> None:
        """Connect to the hub, or find the files, now and not at the first document."""
        if self._tables is None:
            len(self._unread)

    def open(self, cursor: str | None) -> StreamCursor:
        if self._tables is not None and is_position(cursor):
            return TableCursor(*self._tables, Column(self._data.text_key, self._data.on_bad_text), cursor)
        with explained(self.name):
            # The cursor lives in the dataset object, so every reader needs its own; copying one
            # that another thread reads from is not safe.
            dataset = pickle.loads(self._unread)
            if cursor is not None:
                dataset.load_state_dict(json.loads(cursor))
            return HubCursor(dataset, self._data, self.name)

    def fingerprint(self) -> dict[str, Any]:
        facts = split_facts(self._data, self._split)
        return facts if self._tables is None else {**facts, "content": self._tables[1].digest()}


class HubCursor(StreamCursor):
    """One reader of a stream."""

    def __init__(self, dataset: Any, data: DataConfig, name: str):
        self._dataset = dataset
        self._rows = iter(dataset)
        self._key = data.text_key
        self._name = name
        self._fail = data.on_bad_text == "fail"

    def __next__(self) -> str:
        with explained(self._name):
            row = next(self._rows, None)
        if row is None:
            raise StopIteration
        text = row.get(self._key)
        if isinstance(text, str):
            return text
        if self._key not in row:
            raise no_column(self._name, self._key, list(row))
        if text is not None:
            raise not_text(self._name, self._key, type(text).__name__)
        if self._fail:
            raise null_text(f"a document of {self._name}, behind {self.position()},", self._key)
        return ""

    def position(self) -> str:
        return json.dumps(self._dataset.state_dict())


def local_tables(data: DataConfig, split: str) -> dict[str, list[Path]] | None:
    """The tables of a local folder, by the splits in `split`; None for the hub, and for files of other kinds.

    Raises:
        ConfigError: no dataset is named.
        DataError: there is no such folder or split, or a file cannot be read.
    """
    folder = _folder(data)
    if folder is None:
        return None
    files = _local_files(data, folder)
    named = [name for name in re.findall(r"\w+", split) if name in files]
    if not named:
        raise DataError(
            f"{describe_split(data, split)} cannot be read: there is no such split; choose one of {', '.join(files)}"
        )
    if any(format_of(path) == "text" for name in named for path in files[name]):
        return None
    return {name: files[name] for name in named}


def _local_files(data: DataConfig, folder: Path) -> dict[str, list[Path]]:
    """The files of each split, as `datasets` decides from their names or from the folder's `README.md`."""
    import datasets

    with explained(f"the dataset {folder}"), explained_cache():
        found = datasets.load_dataset_builder(str(folder), name=data.hf_name).config.data_files or {}
    return {str(name): [Path(file) for file in paths] for name, paths in found.items()}


def _folder(data: DataConfig) -> Path | None:
    """The local folder that `data.hf_dataset` names; None for a name on the hub."""
    if data.hf_dataset is None:
        raise ConfigError("data.hf_dataset is missing: `data.backend: hf` needs a hub name or a local folder")
    folder = Path(data.hf_dataset).expanduser()
    if folder.is_dir():
        return folder
    if data.hf_dataset.startswith((".", "/", "~")):
        raise DataError(f"the dataset folder {data.hf_dataset} does not exist; check data.hf_dataset")
    return None


def describe_split(data: DataConfig, split: str) -> str:
    """The name of the split in messages."""
    name = f" ({data.hf_name})" if data.hf_name else ""
    return f"split {split} of the dataset {data.hf_dataset}{name}"


def split_facts(data: DataConfig, split: str) -> dict[str, Any]:
    """Identity of a split as far as the configuration gives it; of a local folder only its name."""
    name = str(data.hf_dataset)
    return {
        "backend": "hf",
        "dataset": Path(name).name if Path(name).expanduser().is_dir() else name,
        "name": data.hf_name,
        "split": split,
        "revision": data.hf_revision,
    }


def pinned(data: DataConfig) -> DataConfig:
    """The section with the commit that the hub serves now as its revision, which identifies what is read.

    A local folder has none, and without the hub (its cache may still serve) the configured revision stays.

    Raises:
        OSError: the hub cannot be reached (or another of `retriable_errors`).
    """
    if data.hf_dataset is None or Path(data.hf_dataset).expanduser().is_dir():
        return data
    commit = commit_of(data.hf_dataset, data.hf_revision)
    return data.model_copy(update={"hf_revision": commit}) if commit else data


def commit_of(dataset: str, revision: str | None) -> str | None:
    """The commit that the hub serves under a revision; None offline, or if the hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return HfApi().dataset_info(dataset, revision=revision).sha
    except (OfflineModeIsEnabled, HfHubHTTPError, HFValidationError):
        # Loading follows and reports the error.
        return None


def load_split(data: DataConfig, split: str, *, streaming: bool) -> Any:
    """The `datasets` object of a split.

    Raises:
        ConfigError: no dataset is named.
        DataError: an error that a retry cannot fix.
        OSError: an error that may pass (or another of `retriable_errors`).
    """
    import datasets

    folder = _folder(data)
    path = str(folder or data.hf_dataset)
    arguments = {"name": data.hf_name, "revision": data.hf_revision}
    options: dict[str, Any] = {}
    with explained(describe_split(data, split), lambda: _wrong_split(path, arguments, split)), explained_cache():
        if folder is not None and not streaming:
            # datasets would find an earlier conversion by path and time.
            content = WatchedFiles(file for files in _local_files(data, folder).values() for file in files).digest()
            options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE) / "chomp_by_content" / content[:32])
        elif datasets.load_dataset_builder(path, **arguments).name == "csv":
            # Without this, pandas makes numbers of texts that look like some.
            options["converters"] = {data.text_key: str}
        return datasets.load_dataset(path, **arguments, **options, split=split, streaming=streaming)


def _wrong_split(path: str, arguments: dict[str, Any], split: str) -> str | None:
    """The message for a split that the dataset does not have; None if it has it."""
    import datasets

    known = datasets.get_dataset_split_names(path, arguments["name"], revision=arguments["revision"])
    if split.split("[")[0] in known:
        return None
    return f"there is no such split; choose one of {', '.join(known)}"


def retriable_errors() -> tuple[type[Exception], ...]:
    """Errors of connections; `explained` has already converted those that a retry cannot fix."""
    from huggingface_hub.errors import HTTPError

    return (OSError, HTTPError)


@contextmanager
def explained(name: str, hint: Callable[[], str | None] | None = None) -> Iterator[None]:
    """Turn errors that a retry cannot fix into a DataError; let StopIteration and the rest pass.

    Args:
        name: what is being read.
        hint: called after a ValueError; may return a better reason.
    """
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    final = (ValueError, RuntimeError, KeyError, NotImplementedError, DatasetsError, pa.ArrowException)
    try:
        yield
    except (OSError, *final) as error:
        if isinstance(error, OSError) and not is_final(error):
            raise
        if isinstance(error, OSError):
            offline = "OfflineModeIsEnabled" in str(error)
            advice = "unset HF_HUB_OFFLINE" if offline else "check data.hf_dataset and data.hf_revision"
            reason = f"{_first_line(error)}; {advice}"
        else:
            cause = error.__cause__ if str(error).startswith("An error occurred") and error.__cause__ else error
            reason = (hint() if isinstance(error, ValueError) and hint is not None else None) or _first_line(cause)
        raise DataError(f"{name} cannot be read: {reason}") from error


def is_final(error: OSError) -> bool:
    """Whether a retry meets the same error."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if "OfflineModeIsEnabled" in str(error):  # datasets names it only in the text of a ConnectionError
        return True
    if isinstance(error, LocalEntryNotFoundError):  # raised by the hub's client when it cannot connect
        return False
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        return 400 <= status < 500 and status not in PASSING_STATUSES
    gone = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, OfflineModeIsEnabled)
    return isinstance(error, gone) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0].rstrip('.')}" if text else type(error).__name__
