"""Shared by all packers: reading and counting documents, safe failure, a state without tokens."""

import abc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import grain
import numpy as np
from jaxtyping import Int32

from chomp.data.batch import Batch, BatchShape, LabelRules
from chomp.errors import ChompError, DataError

log = logging.getLogger("chomp.data")

Tokens = Int32[np.ndarray, " tokens"]


Function = TypeVar("Function", bound=Callable[..., Any])


def unfiltered(next_function: Function) -> Function:
    """Keep Grain from adding advice about its own flags to errors that leave an iterator."""
    next_function.__dict__["is_traceback_filtered"] = True
    return next_function


@dataclass
class Corpus:
    """What a packer knows of its text.

    Attributes:
        name: the source, for messages.
        documents: documents in one pass; None until a stream has been read to its end once.
        disorder: how many more documents may have to be read, because passes are shuffled, until
            each document of a pass has certainly been seen.
    """

    name: str
    documents: int | None = None
    disorder: int = 0


@dataclass(frozen=True)
class PackPlan:
    """How documents become batches; the same for all packers.

    Attributes:
        shape: `[accum, batch, seq]` of every batch.
        rules: which positions count in the loss.
        encode: document to token ids with the configured special ids.
        min_tokens: a shorter document gives the model nothing to predict and is skipped.
        max_tokens: documents are cut after this many tokens; None never cuts.
        vocab_size: every id must be below this.
        overlap: whether a row in which a document goes on repeats the last token of the row before, so that its next
            one is predicted too; for a pass that has to score every token. Known to the sequential packer only.
    """

    shape: BatchShape
    rules: LabelRules
    encode: Callable[[Any], Tokens]
    min_tokens: int
    max_tokens: int | None
    vocab_size: int
    overlap: bool = False


class Part(NamedTuple):
    """A piece of a document in a batch.

    Attributes:
        at: flat position in the batch at which it begins.
        number: of the document in the order of reading, from 0.
        start: position of its first token in the document.
        source: of a mixture, the name of the source whose documents are numbered; empty without a mixture.
    """

    at: int
    number: int
    start: int
    source: str = ""


class PackDataset(grain.IterDataset[Batch]):
    """A packer as a Grain dataset over a parent that yields documents."""

    def __init__(self, parent: grain.IterDataset, plan: PackPlan, corpus: Corpus):
        super().__init__(parent)
        self.plan = plan
        self.corpus = corpus


class BatchIterator(grain.DatasetIterator[Batch]):
    """Emits batches, and fails safely.

    Raises:
        DataError: from `__next__`, for anything that goes wrong below. Once failed, the iterator
            keeps raising the same error until `set_state`, so that no text is skipped by retrying.
            After an interrupt the next call makes the interrupted batch again.

    Attributes:
        starts: flat positions in the newest batch at which a document, or a part of one that was cut, begins.
        parts: the pieces of documents in the newest batch, in order.
    """

    def __init__(self, parents: grain.DatasetIterator | Sequence[grain.DatasetIterator], name: str):
        super().__init__(parents)
        self._name = name
        self._failure: ChompError | None = None
        self._interrupted_at: dict[str, Any] | None = None
        self.starts = np.zeros(0, np.intp)
        self.parts: list[Part] = []

    @abc.abstractmethod
    def _next_batch(self) -> Batch | None:
        """The next batch, padded if text has run out, or None when there is no token left."""

    @abc.abstractmethod
    def _check(self, batch: Batch) -> None:
        """Refuse a batch that the model cannot take; called with each."""

    def _recover(self) -> None:
        """Forget a failure or an interrupt; for `set_state`."""
        self._failure = self._interrupted_at = None

    @unfiltered
    def __next__(self) -> Batch:
        self._assert_not_closed()
        if self._failure is not None:
            raise self._failure
        if self._interrupted_at is not None:
            self.set_state(self._interrupted_at)
        before = self.get_state()
        try:
            batch = self._next_batch()
            if batch is not None:
                self._check(batch)
        except ChompError as error:
            self._failure = error
            raise
        except (KeyboardInterrupt, SystemExit):
            self._interrupted_at = before
            raise
        except BaseException as error:
            # A native tokenizer panics with a BaseException, which would end a prefetch thread
            # silently and leave the consumer waiting forever.
            log.exception("preparing training data failed")
            detail = str(error).strip() or "no message"
            self._failure = DataError(f"preparing a batch from {self._name} failed: {type(error).__name__}: {detail}")
            raise self._failure from error
        if batch is None:
            raise StopIteration
        return batch


class PackIterator(BatchIterator):
    """Reads documents from its parent and packs them.

    The state is the parent's state from before the document (or group of documents) in progress
    plus a position inside it, so it stays a few numbers and restoring reads that text again.
    """

    def __init__(self, parent: grain.DatasetIterator, plan: PackPlan, corpus: Corpus):
        super().__init__(parent, corpus.name)
        self._plan = plan
        self._corpus = corpus
        self._documents = 0
        self._skipped = 0
        self._skipped_in_a_row = 0
        self._longest_skipped = 0

    def _check(self, batch: Batch) -> None:
        limit = self._plan.vocab_size
        highest, lowest = int(batch.input_ids.max()), int(batch.input_ids.min())
        if highest >= limit or lowest < 0:
            wrong = highest if highest >= limit else lowest
            raise DataError(
                f"token id {wrong} in {self._corpus.name} is outside the model's vocabulary: ids run from 0 to "
                f"{limit - 1}; use the tokenizer that the model was made for, or raise model.vocab_size"
            )

    def _next_document(self) -> Tokens | None:
        """Token ids of the next document that gives the model something to predict; None at the end."""
        plan = self._plan
        while True:
            try:
                document = next(self._parent)
            except StopIteration:
                if self._documents and self._documents == self._skipped:
                    raise self._no_usable_text() from None
                return None
            self._documents += 1
            tokens = plan.encode(document)
            if len(tokens) >= plan.min_tokens:
                self._skipped_in_a_row = 0
                return tokens if plan.max_tokens is None else tokens[: plan.max_tokens]
            self._skipped += 1
            self._skipped_in_a_row += 1
            self._longest_skipped = max(self._longest_skipped, len(tokens))
            in_pass = self._corpus.documents
            if in_pass is not None and self._skipped_in_a_row >= in_pass + self._corpus.disorder:
                raise self._no_usable_text()

    def _no_usable_text(self) -> DataError:
        in_pass = self._corpus.documents
        read = self._skipped_in_a_row if in_pass is None else min(in_pass, self._skipped_in_a_row)
        return DataError(
            f"no usable text in {self._corpus.name}: read {read} document{'' if read == 1 else 's'}, the longest of "
            f"{self._longest_skipped} tokens, and a document needs at least {self._plan.min_tokens} tokens to have "
            f"one to predict; check data.text_key and the files"
        )

    def _counts(self) -> dict[str, int]:
        return {"documents": self._documents, "skipped": self._skipped}

    def _restore_counts(self, counts: dict[str, Any]) -> None:
        self._documents, self._skipped = counts["documents"], counts["skipped"]
        self._skipped_in_a_row = self._longest_skipped = 0
        self._recover()
