"""The interfaces of a source of documents."""

import abc
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chomp.record.formatting import plural

Document = str | np.ndarray
"""Text still to be tokenized, or int32 token ids that are used as they are."""


class RandomAccessSource(abc.ABC):
    """Documents that can be read in any order, as often as wanted.

    Attributes:
        name: for messages, e.g. "data.files".
        is_tokenized: whether documents are token ids, special ids included.
    """

    name: str
    is_tokenized = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of documents."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Document:
        """The document at `index`.

        Raises:
            DataError: it cannot be read or decoded.
        """

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """JSON-able identity of the text, equal on another machine that holds the same text."""

    def describe(self) -> str:
        """A description in one line."""
        return f"{self.name}: {plural(len(self), 'document')}"

    def places(self, positions: Sequence[int]) -> list[str]:
        """Where the documents at these positions are: file and row, or their number in the source, from 1.

        Raises:
            DataError: a file cannot be read.
        """
        return [f"document {position + 1:,} of {self.name}" for position in positions]


class InMemorySource(RandomAccessSource):
    """Documents held in a list.

    Args:
        files: the file of each, if they come from files.
    """

    def __init__(self, name: str, documents: Sequence[str], facts: dict[str, Any], files: Sequence[Path] = ()):
        self.name = name
        self._documents = documents
        self._facts = facts
        self._files = files

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: int) -> str:
        return self._documents[index]

    def fingerprint(self) -> dict[str, Any]:
        return {**self._facts, "documents": len(self), "digest": digest_documents(self._documents)}

    def places(self, positions: Sequence[int]) -> list[str]:
        return [str(self._files[position]) for position in positions] if self._files else super().places(positions)

    def describe(self) -> str:
        characters = sum(map(len, self._documents))
        return f"{self.name}: {plural(len(self), 'document')}, {plural(characters, 'character')}"


class StreamSource(abc.ABC):
    """Documents that come one after another, from a cursor that can be saved.

    Attributes:
        name: for messages.
        retriable: errors after which the same call may succeed a little later.
    """

    name: str
    retriable: tuple[type[Exception], ...]

    @abc.abstractmethod
    def open(self, cursor: str | None) -> "StreamCursor":
        """Start reading after `cursor`, or at the beginning when it is None.

        Raises:
            DataError: an error that a retry cannot fix.
            Exception: one of `retriable`.
        """

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """JSON-able identity of the stream."""

    def describe(self) -> str:
        """A description in one line."""
        return self.name


class StreamCursor(Iterator[Document]):
    """An open stream; `position()` after a document resumes behind it.

    `__next__` raises `DataError` for an error that a retry cannot fix, and the source's `retriable` errors.
    """

    @abc.abstractmethod
    def position(self) -> str:
        """An opaque string that `StreamSource.open` accepts."""


SAMPLE_BYTES = 1 << 16
SAMPLES = 16
SAMPLED_BYTES = SAMPLE_BYTES * SAMPLES
"""Size of a file above which only samples of it enter `update_digest`."""


def update_digest(digest: Any, path: Path) -> int:
    """Add a file's size and content to a hash; of a file above 1 MiB, sixteen evenly spread samples.

    Returns:
        The size in bytes.
    """
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= SAMPLED_BYTES:
            digest.update(file.read())
            return size
        for sample in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return size


def digest_documents(documents: Sequence[Document]) -> str:
    """SHA-256 over documents, lengths included."""
    digest = hashlib.sha256()
    for document in documents:
        content = document.encode("utf-8", "replace") if isinstance(document, str) else document.tobytes()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
