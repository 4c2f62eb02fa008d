"""A packed batch as the model receives it: documents, padding, labels, tokens and their text."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from chomp.analysis.text_size import measure_text
from chomp.checkpoint.data_item import read_position
from chomp.config import Config, derive
from chomp.config.derive import Derived
from chomp.data.batch import Batch
from chomp.data.packing.base import BatchIterator
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.spelling import Spelling
from chomp.data.tokenizers import Tokenizer
from chomp.errors import DataError
from chomp.model.loss import loss_mask
from chomp.model.resolve import resolve_model
from chomp.record.manifest import CheckpointInfo

SAMPLED_DOCUMENTS, SAMPLED_TOKENS = 256, 1 << 20
# Between two reports of progress.
REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens of a row that are of one document and alike in the loss.

    Attributes:
        document: its number in the batch, from 1; 0 for one that began in an earlier batch, -1 for padding.
        begins: whether the document, or a part of one that was cut, begins here.
        counted: whether the tokens count in the loss.
        ids: the tokens.
        pieces: the text of each; "" for one whose character ends in a later one, `<…>` for special ids.
    """

    document: int
    begins: bool
    counted: bool
    ids: list[int]
    pieces: list[str]


@dataclass(frozen=True)
class Row:
    """One packed row; `source` is that of a mixture."""

    micro_batch: int
    row: int
    documents: int
    padding: int
    runs: list[Run]
    source: str | None = None


@dataclass(frozen=True)
class SourceShare:
    """Shares of tokens of one source of a mixture.

    Attributes:
        wanted: by the weights in force behind the batch.
        in_batch: of the batch.
        so_far: of all that the run has read up to the end of the batch.
    """

    name: str
    wanted: float
    in_batch: float
    so_far: float


@dataclass(frozen=True)
class Lengths:
    """Tokens of documents."""

    min: int
    median: float
    max: int

    @classmethod
    def of(cls, lengths: list[int]) -> Lengths | None:
        """None where there are no documents."""
        return cls(min(lengths), statistics.median(lengths), max(lengths)) if lengths else None


@dataclass(frozen=True)
class Summary:
    """Figures of the batch and of the text.

    Attributes:
        step: that receives the batch; beyond `last_step`, it would if the run were longer.
        shape: micro-batches, sequences in each, tokens in each sequence.
        documents: in the batch, a part of one counted as one.
        lengths: tokens of these, as far as they are in the batch.
        tokens_per_byte: of the batch's text.
        packing_efficiency: share of positions that are not padding.
        masked: share of the tokens that do not count in the loss.
        source: the text in one line.
        text_documents: for training; None for a stream.
        text_lengths: tokens of whole documents, from a sample.
        epoch_tokens: of one pass over the training text, about; None for a stream.
        epochs: passes that the run makes, about.
        isolated: whether documents in one row are kept apart.
        sources: those of a mixture.
        last_step: of the run; None where it follows from the text.
    """

    step: int
    shape: tuple[int, int, int]
    documents: int
    lengths: Lengths | None
    tokens_per_byte: float | None
    packing_efficiency: float
    masked: float
    source: str
    text_documents: int | None
    text_lengths: Lengths | None
    epoch_tokens: int | None
    epochs: float | None
    isolated: bool
    sources: list[SourceShare]
    last_step: int | None = None


@dataclass(frozen=True)
class Preview:
    """One batch: its summary, and some of its rows."""

    summary: Summary
    rows: list[Row]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


class Previewer:
    """Opens the text of a configuration once and shows batches of it.

    Args:
        config: checked.
        tokenizer: of `config.data.tokenizer`.
        origin: the checkpoint from which a run continues; its next batch is the first.
        say: told what takes time.

    Raises:
        ChompError: the text cannot be found or used, as in a run.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        origin: CheckpointInfo | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        specials = config.data.tokenizer.auto_set_special_tokens
        model = resolve_model(config.model, tokenizer, auto_set_special_tokens=specials)
        self._config = config.model_copy(update={"model": model})
        self._derived: Derived = derive(self._config)
        self._tokenizer, self._say = tokenizer, say
        self._bytes = tokenizer.byte_lengths()
        self._names = {index: f"<{role}>" for role, index in tokenizer.special_ids().items() if index is not None}
        say("opening the text…")
        self._data: DataPipeline = build_data(self._config, self._derived, tokenizer)
        self._first_step = origin.step if origin is not None else 0
        self._state = read_position(origin.path) if origin is not None else None
        say("sampling documents…")
        self._sample = self._data.sample_lengths(SAMPLED_DOCUMENTS, SAMPLED_TOKENS)
        self._epoch_tokens = self._estimate()
        self._restart()

    def _estimate(self) -> int | None:
        """Tokens of one pass over the training text, as `chomp inspect` estimates them, else by the sample."""
        data, count = self._config.data, self._data.train_count
        if self._data.parts:
            return None
        if data.max_doc_tokens is None:
            known = measure_text(data, self._tokenizer).tokens
            if known is not None:
                return known
        if count is None or not self._sample:
            return None
        return round(count * statistics.fmean(min(one, data.max_doc_tokens or one) for one in self._sample))

    def _restart(self) -> None:
        self._iterator: BatchIterator = self._data.packing_iterator()
        if self._state is not None:
            try:
                self._iterator.set_state(self._state)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    "the checkpoint's position in the text is of other settings of data than these; preview a new run "
                    "with them, or restore them"
                ) from error
        self._read = 0
        self._batch: Batch | None = None

    def batch(self, number: int) -> Batch:
        """The batch that the run's step `number`, counted from where it starts, receives.

        Raises:
            DataError: the text ends before it, or cannot be read.
        """
        if number < self._read:
            self._restart()
        told = time.monotonic()
        while self._read < number:
            try:
                self._batch = next(self._iterator)
            except StopIteration:
                raise DataError(f"the text ends after {self._read:,} batches") from None
            self._read += 1
            now = time.monotonic()
            if self._read < number and now - told >= REPORT_SECONDS:
                told = now
                self._say(f"reading batch {self._read:,} of {number:,}…")
        assert self._batch is not None
        return self._batch

    def show(self, number: int, first: int = 0, most: int | None = None) -> Preview:
        """A batch with at most `most` of its rows from row `first` on; errors are those of `batch`."""
        batch = self.batch(number)
        ids, counted = _rows(batch.input_ids), self._counted(batch)
        documents, begins = self._documents(batch)
        chosen = range(first, min(len(ids), first + (len(ids) if most is None else most)))
        rows = [
            replace(
                self._row(index, ids[index], documents[index], begins[index], counted[index]),
                source=self._source_of(batch, index),
            )
            for index in chosen
        ]
        return Preview(self._summary(number, batch, documents, counted), rows)

    def _counted(self, batch: Batch) -> np.ndarray:
        """`[rows, seq]`: which tokens are targets of the loss; the first of a row never is."""
        labels, segments = _rows(batch.labels), _rows(batch.segment_ids)
        counted = np.zeros(labels.shape, bool)
        counted[:, 1:] = loss_mask(labels, segments, self._config.data.isolate_documents)
        return counted & _rows(batch.attention_mask)

    def _documents(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """`[rows, seq]`: numbers of documents, -1 at padding; and where one begins."""
        mask = _rows(batch.attention_mask)
        begins: np.ndarray = np.zeros(mask.size, bool)
        begins[self._iterator.starts] = True
        documents: np.ndarray = np.cumsum(begins).reshape(mask.shape)
        begins = begins.reshape(mask.shape)
        if batch.source_ids is not None:
            _continue_by_source(documents, begins, batch.source_ids.reshape(-1))
        return np.where(mask, documents, -1), begins

    def _source_of(self, batch: Batch, row: int) -> str | None:
        return None if batch.source_ids is None else list(self._data.parts)[batch.source_ids.reshape(-1)[row]]

    def _shares(self, batch: Batch) -> list[SourceShare]:
        """Shares of the sources of a mixture."""
        if batch.source_ids is None:
            return []
        state = self._iterator.get_state()
        filled = _rows(batch.attention_mask).sum(axis=1)
        weights, read = state["weights"], state["read"]
        return [
            SourceShare(
                name,
                weights[name] / max(1, sum(weights.values())),
                float(filled[batch.source_ids.reshape(-1) == index].sum() / filled.sum()),
                read[name] / sum(read.values()),
            )
            for index, name in enumerate(self._data.parts)
        ]

    def _row(self, index: int, ids: np.ndarray, documents: np.ndarray, begins: np.ndarray, counted: np.ndarray) -> Row:
        changes = begins[1:] | (documents[1:] != documents[:-1]) | (counted[1:] != counted[:-1])
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(ids)]
        pieces = list(self._pieces(ids, documents, begins))
        runs = [
            Run(
                int(documents[start]),
                bool(begins[start]),
                bool(counted[start]),
                ids[start:stop].tolist(),
                pieces[start:stop] if documents[start] >= 0 else [],
            )
            for start, stop in pairwise(edges)
        ]
        micro, row = divmod(index, self._config.train.batch_size)
        shown = {int(number) for number in documents if number >= 0}
        return Row(micro, row, len(shown), int((documents < 0).sum()), runs)

    def _pieces(self, ids: np.ndarray, documents: np.ndarray, begins: np.ndarray) -> Iterator[str]:
        """The text of each token of a row, which is that of its document."""
        spelling, held = Spelling(self._tokenizer), ""
        for position, token in enumerate(ids.tolist()):
            if begins[position]:
                spelling = Spelling(self._tokenizer)
            if documents[position] < 0:
                yield ""
                continue
            special = self._bytes[token] == 0
            last = position + 1 == len(ids) or begins[position + 1] or self._bytes[ids[position + 1]] == 0
            held = self._names.get(token, f"<{token}>") if special else spelling.add(token)
            yield held if special or not last else held + spelling.rest()

    def _summary(self, number: int, batch: Batch, documents: np.ndarray, counted: np.ndarray) -> Summary:
        mask, ids = _rows(batch.attention_mask), _rows(batch.input_ids)
        _, lengths = np.unique(documents[mask], return_counts=True)
        tokens, size = int(mask.sum()), int(self._bytes[ids[mask]].sum())
        epoch_tokens = self._epoch_tokens
        return Summary(
            step=self._first_step + number,
            shape=(self._derived.grad_accum, self._config.train.batch_size, self._config.train.seq_len),
            documents=len(lengths),
            lengths=Lengths.of(lengths.tolist()),
            tokens_per_byte=tokens / size if size else None,
            packing_efficiency=tokens / mask.size,
            masked=1 - int(counted.sum()) / tokens if tokens else 0.0,
            source=self._data.describe(),
            text_documents=self._data.train_count,
            text_lengths=Lengths.of(self._sample),
            epoch_tokens=epoch_tokens,
            epochs=self._config.train.epochs or (self._derived.total_tokens / epoch_tokens if epoch_tokens else None),
            isolated=self._config.data.isolate_documents,
            sources=self._shares(batch),
            last_step=self._config.train.steps if self._config.train.epochs is None else None,
        )

    def close(self) -> None:
        """Stop reading."""
        self._data.close()


def _continue_by_source(documents: np.ndarray, begins: np.ndarray, sources: np.ndarray) -> None:
    """Give what continues a document in a row the number that it has in the last row of the same source, else 0."""
    newest: dict[int, int] = {}
    for row, source in enumerate(sources.tolist()):
        first = int(begins[row].argmax()) if begins[row].any() else len(begins[row])
        documents[row, :first] = newest.get(source, 0)
        newest[source] = int(documents[row, -1])


def _rows(field: np.ndarray) -> np.ndarray:
    """`[accum, batch, seq]` as `[rows, seq]`."""
    return field.reshape(-1, field.shape[-1])
