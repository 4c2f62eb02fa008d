"""Whether evaluation text is also training text: by content, whatever the files are called."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from chomp.data.heldout import Documents
from chomp.data.sources.base import Document
from chomp.errors import DataError

WINDOW = 64
"""Bytes, or token ids, of a passage that is compared."""
SAMPLED = 16
"""One passage of so many is compared, chosen by its content: the same ones wherever the text is."""
SHARED = 0.5
"""A document is training text if at least this share of its passages is."""
BLOCK = 1 << 20
"""Elements that are hashed at once."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
# Its inverse modulo 2**64.
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_MIX = np.uint64(0xBF58476D1CE4E5B9)

Named = tuple[str, Documents]
"""A text's name, for messages, and its documents."""


def require_apart(
    training: Iterable[Named], evaluation: Sequence[Named], encode: Callable[[Document], Document]
) -> None:
    """Compare evaluation documents with all training documents, passage by passage.

    A passage is a window of `WINDOW` bytes. Every one of them has a hash of its content, and those whose hash says so
    are compared: a text that is copied, cut or put into another document is found, and a common header is not enough.
    A document without such a passage is compared as a whole.

    Args:
        training: documents that are text or token ids.
        evaluation: documents that are text.
        encode: a text to token ids, to be compared with such documents.

    Raises:
        DataError: a document is training text.
    """
    texts, ids = _Known(evaluation), None
    for name, documents in training:
        for number in range(len(documents)):
            document = documents[number]
            if isinstance(document, str):
                texts.meet(document, name)
            else:
                ids = ids or _Known([(one, [encode(text) for text in _all(some)]) for one, some in evaluation])
                ids.meet(document, name)
    for known in (texts, ids):
        if known is not None:
            known.refuse()


def _all(documents: Documents) -> Iterator[Document]:
    return (documents[number] for number in range(len(documents)))


class _Known:
    """The passages of evaluation documents, and where each was met."""

    def __init__(self, texts: Sequence[Named]):
        self._places = [(name, number) for name, documents in texts for number in range(len(documents))]
        found = [np.unique(_passages(document)) for _, documents in texts for document in _all(documents)]
        flat = np.concatenate([np.zeros(0, np.uint64), *found])
        order = np.argsort(flat, kind="stable")
        self._hashes, self._owners = flat[order], np.repeat(np.arange(len(found)), [len(one) for one in found])[order]
        self._met = np.zeros(len(flat), bool)
        self._in: dict[int, str] = {}

    def meet(self, document: Document, name: str) -> None:
        """Note which passages a training document has."""
        found = np.unique(_passages(document))
        first = np.searchsorted(self._hashes, found, side="left")
        last = np.searchsorted(self._hashes, found, side="right")
        for start, end in zip(first[first < last], last[first < last], strict=True):
            self._met[start:end] = True
            for owner in self._owners[start:end]:
                self._in.setdefault(int(owner), name)

    def refuse(self) -> None:
        """Raise for the first document that is training text."""
        count = np.bincount(self._owners, minlength=len(self._places))
        met = np.bincount(self._owners[self._met], minlength=len(self._places))
        for owner in np.flatnonzero((met > 0) & (met >= SHARED * count)):
            name, number = self._places[owner]
            share = met[owner] / count[owner]
            raise DataError(
                f"document {number + 1} of {name} is training text: {share:.0%} of its passages are in "
                f"{self._in[int(owner)]}; remove it from one of them"
            )


def _passages(document: Document) -> np.ndarray:
    """Hashes of some passages, chosen by their content; of the whole document if it has none."""
    elements = _elements(document)
    if not len(elements):
        return np.zeros(0, np.uint64)
    if len(elements) >= WINDOW:
        chosen = np.concatenate([hashes[_is_sampled(hashes)] for hashes in _windows(elements, WINDOW)])
        if len(chosen):
            return chosen
    # Short, or of one repeated letter.
    return next(_windows(elements, min(len(elements), BLOCK)))[:1]


def _elements(document: Document) -> np.ndarray:
    if isinstance(document, str):
        return np.frombuffer(document.encode("utf-8", "surrogatepass"), np.uint8)
    return np.asarray(document)


def _is_sampled(hashes: np.ndarray) -> np.ndarray:
    return hashes < np.uint64((1 << 64) // SAMPLED)


def _windows(elements: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """Hashes of all windows, block by block: polynomials modulo 2**64, as differences of their running sums."""
    count = len(elements) - window + 1
    size = min(max(BLOCK, window), len(elements))
    powers, back = _powers(_INVERSE, size), _powers(_BASE, size)
    for start in range(0, count, size - window + 1):
        # No zeros, which would not count.
        block = elements[start : start + size].astype(np.uint64) + np.uint64(1)
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(block * powers[: len(block)], dtype=np.uint64)))
        hashes = (sums[window:] - sums[:-window]) * back[: len(sums) - window]
        hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX
        yield hashes ^ (hashes >> np.uint64(29))


def _powers(base: np.uint64, count: int) -> np.ndarray:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
