"""A stream as a Grain iterator: an exact cursor, and one pass after another."""

from typing import Any

import grain

from chomp.data.packing.base import Corpus, unfiltered
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document, StreamCursor, StreamSource
from chomp.errors import DataError


class StreamReader:
    """Reads one pass of a stream, opening it again at the exact document after a failure.

    Args:
        source: the stream.
        position: cursor to start behind; None for the beginning.
        retry: what to do on failure.
    """

    def __init__(self, source: StreamSource, position: str | None, retry: RetryPolicy):
        self._source = source
        self._retry = retry
        self._cursor: StreamCursor | None = None
        self.position = position

    def read(self) -> Document:
        """The next document; `position` then lies behind it.

        Raises:
            StopIteration: the pass is over.
            DataError: the stream stays out of reach, or what it holds cannot be used.
        """
        return self._retry.call(self._source.name, self._source.retriable, self._attempt)

    def _attempt(self) -> Document:
        # The cursor is kept only while it works: after a failure the stream is opened again at
        # `position`, whatever the broken cursor has advanced to meanwhile.
        cursor, self._cursor = self._cursor, None
        if cursor is None:
            cursor = self._source.open(self.position)
        document = next(cursor)
        self.position = cursor.position()
        self._cursor = cursor
        return document


class StreamDataset(grain.IterDataset[Document]):
    """The training part of a stream, pass after pass.

    Args:
        source: the stream.
        start: cursor behind the held-out documents; every pass starts there.
        corpus: learns the number of documents in a pass once one has been read.
        repeat: start over at the end.
        retry: what to do on failure.
        passes: how many there are if it repeats; None for no limit.
    """

    def __init__(
        self,
        source: StreamSource,
        start: str | None,
        corpus: Corpus,
        *,
        repeat: bool,
        retry: RetryPolicy,
        passes: int | None = None,
    ):
        super().__init__()
        self.source = source
        self.start = start
        self.corpus = corpus
        self.passes = passes if repeat else 1
        self.retry = retry

    def __iter__(self) -> "StreamIterator":
        return StreamIterator(self)


class StreamIterator(grain.DatasetIterator[Document]):
    """State: the source's cursor, the pass, and the documents read in it."""

    def __init__(self, dataset: StreamDataset):
        super().__init__()
        self._dataset = dataset
        self._epoch = 0
        self._in_pass = 0
        self._reader = self._reader_at(dataset.start)

    def _reader_at(self, position: str | None) -> StreamReader:
        return StreamReader(self._dataset.source, position, self._dataset.retry)

    @unfiltered
    def __next__(self) -> Document:
        self._assert_not_closed()
        while True:
            try:
                document = self._reader.read()
                self._in_pass += 1
                return document
            except StopIteration:
                self._finish_pass()

    def _finish_pass(self) -> None:
        """Start the next pass, or end for good."""
        if self._in_pass == 0:
            raise DataError(f"{self._dataset.source.name} has no documents to train on")
        self._dataset.corpus.documents = self._in_pass
        if self._epoch + 1 == self._dataset.passes:
            raise StopIteration
        self._epoch += 1
        self._in_pass = 0
        self._reader = self._reader_at(self._dataset.start)

    def get_state(self) -> dict[str, Any]:
        return {"cursor": self._reader.position or "", "epoch": self._epoch, "documents": self._in_pass}

    def set_state(self, state: dict[str, Any]) -> None:
        self._epoch, self._in_pass = state["epoch"], state["documents"]
        self._reader = self._reader_at(state["cursor"] or None)
