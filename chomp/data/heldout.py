"""Which text is held out for evaluation: decided by position, so that it is never trained on."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from chomp.data.sources.base import Document, RandomAccessSource
from chomp.errors import DataError

# Rules by which a text itself is divided, so that all of it that is not held out is training text.
DIVIDING = frozenset({"evenly spread", "tail", "first"})
SHARE = 0.05
"""Of the documents, at most `data.max_eval_samples` of them; and the least part of a single document."""


@runtime_checkable
class Documents(Protocol):
    """A sequence of documents."""

    def __len__(self) -> int:
        """Number of documents."""
        ...

    def __getitem__(self, index: int) -> Document:
        """The document at `index`."""
        ...


class HeldOut(NamedTuple):
    """The two disjoint parts of a source.

    Attributes:
        train: what training reads.
        evaluation: what evaluation reads.
        rule: how the source was split, for the fingerprint.
    """

    train: Documents
    evaluation: Documents
    rule: dict[str, Any]


class Selection:
    """Some documents of a source, by position.

    Args:
        source: all documents.
        positions: sorted positions; the documents chosen, or left out if `complement`.
        complement: take every document but those.
    """

    def __init__(self, source: Documents, positions: np.ndarray, *, complement: bool = False):
        self._source = source
        self._positions = positions
        self._complement = complement
        # How many kept documents lie before each left-out one: enough to step over them by bisection.
        self._kept_before = positions - np.arange(len(positions))

    def __len__(self) -> int:
        chosen = len(self._positions)
        return len(self._source) - chosen if self._complement else chosen

    @property
    def of(self) -> int:
        """Number of documents of the whole source."""
        return len(self._source)

    def position(self, index: int) -> int:
        """Position in the source of the selection's document number `index`."""
        if self._complement:
            return index + int(np.searchsorted(self._kept_before, index, side="right"))
        return int(self._positions[index])

    def chosen(self, indices: np.ndarray) -> "Selection":
        """Some documents of the selection, by their numbers in it."""
        return Selection(self._source, np.array([self.position(int(index)) for index in indices], np.int64))

    def __getitem__(self, index: int) -> Document:
        return self._source[self.position(index)]


def heldout_count(documents: int, most: int) -> int:
    """How many of this many documents are held out: 5 %, at least one, at most `most`."""
    return min(most, max(1, math.ceil(SHARE * documents)))


def spread(count: int, total: int) -> np.ndarray:
    """`count` evenly spread positions below `total`, each the middle of its share."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * total // (2 * count)


def hold_out(source: RandomAccessSource, most: int) -> HeldOut:
    """Hold out evenly spread documents, or the end of the only one.

    Raises:
        DataError: there is no document, or the only one is too short to be divided.
    """
    total = len(source)
    if total == 0:
        raise DataError(f"{source.name} holds no documents")
    if total == 1:
        train, evaluation = split_document(source[0], source.name)
        return HeldOut(_single(train), _single(evaluation), {"rule": "tail", "train_length": len(train)})
    count = heldout_count(total, most)
    positions = spread(count, total)
    return HeldOut(
        Selection(source, positions, complement=True),
        Selection(source, positions),
        {"rule": "evenly spread", "documents": count},
    )


def thinned(documents: Documents, most: int) -> Documents:
    """At most so many of the documents, evenly spread."""
    if len(documents) <= most:
        return documents
    chosen = spread(most, len(documents))
    return documents.chosen(chosen) if isinstance(documents, Selection) else [documents[int(one)] for one in chosen]


def split_document(document: Document, name: str) -> tuple[Document, Document]:
    """Divide one document: its last 5 to 10 % is held out, from a line's start where there is one.

    Raises:
        DataError: it is too short to be divided.
    """
    length = len(document)
    latest = length - max(1, math.floor(SHARE * length))
    earliest = length - max(1, math.ceil(2 * SHARE * length))
    if earliest < 1:
        raise DataError(
            f"{name} holds a single document of {length} {'characters' if isinstance(document, str) else 'tokens'}, "
            f"too short to keep a part of it for evaluation; add text"
        )
    cut = latest
    if isinstance(document, str):
        newline = document.find("\n", earliest - 1, latest)
        cut = newline + 1 if newline >= 0 else latest
    return document[:cut], document[cut:]


def _single(document: Document) -> Sequence[Document]:
    return [document]
