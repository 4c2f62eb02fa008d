"""From configuration to batches: one training iterator with one state, and fixed evaluation batches."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import grain
from grain.experimental import WindowShuffleIterDataset

from chomp.config.data import DataConfig
from chomp.config.derive import Derived
from chomp.config.schema import Config
from chomp.data.batch import Batch, BatchShape
from chomp.data.heldout import Documents, Selection, spread
from chomp.data.mixture import MixtureDataset
from chomp.data.packing.base import BatchIterator, Corpus, PackDataset, PackPlan, Part, Tokens
from chomp.data.packing.build import make_plan, pack
from chomp.data.packing.sequential import SequentialPackDataset
from chomp.data.passes import passes_of_documents, passes_of_stream
from chomp.data.prefetch import PrefetchDataset
from chomp.data.retry import RetryPolicy
from chomp.data.shares import PassSize, Shares, passes_of
from chomp.data.sources.base import Document
from chomp.data.sources.build import Text, open_text
from chomp.data.sources.mixture import of_source
from chomp.data.stream import StreamDataset
from chomp.data.tokenizers import Tokenizer
from chomp.record.formatting import plural

MOST_NAMED = 100
"""Documents of a batch that are named one by one."""
SAMPLED_DOCUMENTS, SAMPLED_TOKENS = 256, 1 << 20


class BatchOrigin(NamedTuple):
    """What a batch was packed from.

    Attributes:
        source: name of the source.
        first_read: number of the first document in the order of reading, from 0.
        document_count: how many documents from there on; with `packing_mode: bin` those of the whole groups that its
            rows came from.
        documents: their positions in the source, in the order of reading, at most 100; empty for a stream.
    """

    source: str
    first_read: int
    document_count: int
    documents: list[int]


class SourceProgress(NamedTuple):
    """What has been read of a source of a mixture: tokens, and passes."""

    tokens: int
    epochs: float


class DataPipeline:
    """Everything a run needs of its text.

    Attributes:
        fingerprint: JSON-able; what was opened and how evaluation text was held out.
        text_plan: the packing of documents that are text, also where the training text is token ids.
        has_eval: whether there is text to evaluate on.
        parts: of a mixture, the sources by name, in the order of `Batch.source_ids`.

    Args:
        passes: over the text, if it repeats; None for no end.
    """

    def __init__(
        self,
        text: Text,
        config: Config,
        derived: Derived,
        tokenizer: Tokenizer,
        *,
        vocab_size: int,
        retry: RetryPolicy,
        passes: int | None = None,
    ):
        data = config.data
        self._retry = retry
        self._text = text
        self._tokenizer = tokenizer
        self._config = config
        self._corpus = _corpus(text, data)
        shape = BatchShape(derived.grad_accum, config.train.batch_size, config.train.seq_len)
        self._plan = make_plan(data, tokenizer, shape, vocab_size, is_tokenized=text.is_tokenized)
        self.text_plan = make_plan(data, tokenizer, shape, vocab_size, is_tokenized=False)
        self._seed = derived.shuffle_seed
        self._passes: int | None = passes if data.repeat else 1
        self.parts = {
            name: DataPipeline(
                replace(part, evaluation=[]),
                *_of_source(config, derived, name),
                tokenizer,
                vocab_size=vocab_size,
                retry=retry,
                passes=passes_of(data, name),
            )
            for name, part in text.parts.items()
        }
        self._iterators: list[grain.DatasetIterator[Batch]] = []
        # Read now, so that a held-out document that cannot be read is found before training.
        self._heldout = [text.evaluation[index] for index in range(len(text.evaluation))]
        self._eval_tokens: list[Tokens] | None = None
        self.has_eval = any(len(self._plan.encode(document)) >= self._plan.min_tokens for document in self._heldout)
        self.fingerprint = text.identity

    def train_iterator(self) -> grain.DatasetIterator[Batch]:
        """Training batches `[accum, batch, seq]`.

        `get_state()` is the position behind the last batch handed out, a small JSON-able dict that
        covers shuffling, packing and prefetching; `set_state()` continues there exactly.
        Ends after a padded batch where the text does.
        """
        iterator = self.train_dataset().__iter__()
        self._iterators.append(iterator)
        return iterator

    def train_dataset(self) -> grain.IterDataset[Batch]:
        """The training batches as a Grain dataset; each iterator of it starts at the beginning."""
        return PrefetchDataset(self._packed(), size=self._config.data.prefetch)

    def packing_iterator(self) -> BatchIterator:
        """The same batches made on demand, by an iterator that also says where documents begin."""
        iterator = self._packed().__iter__()
        assert isinstance(iterator, BatchIterator)
        return iterator

    def _packed(self) -> PackDataset | MixtureDataset:
        if not self.parts:
            return self._packed_alone()
        mixture = self._config.data.mixture
        return MixtureDataset(
            {name: part._packed_alone() for name, part in self.parts.items()},
            Shares(mixture),
            self._plan.shape,
            self._plan.rules.pad_id,
            stops=mixture.exhausted == "stop",
        )

    def _packed_alone(self) -> PackDataset:
        data = self._config.data
        return pack(self.train_documents(), self._plan, self._corpus, data, self._seed if data.shuffle else None)

    def count_train_tokens(self) -> int:
        """Tokens that one pass over random-access training text packs; the text is encoded for it."""
        train, plan = self._text.train, self._plan
        lengths = (len(plan.encode(train[index])) for index in range(len(train)))
        return sum(min(length, plan.max_tokens or length) for length in lengths if length >= plan.min_tokens)

    def sample_lengths(self, most_documents: int, most_tokens: int) -> list[int]:
        """Tokens of some documents for training, evenly spread over random-access text; empty for a stream."""
        train, lengths = self._text.train, list[int]()
        if self.parts:
            share = len(self.parts)
            each = [part.sample_lengths(most_documents // share, most_tokens // share) for part in self.parts.values()]
            return [length for some in each for length in some]
        for index in spread(min(most_documents, len(train)), len(train)) if len(train) else ():
            if sum(lengths) >= most_tokens:
                break
            lengths.append(len(self._plan.encode(train[int(index)])))
        return lengths

    def pass_size(self) -> PassSize | None:
        """Tokens of one pass over random-access text, from a sample if it is long; None for a stream."""
        count, most = self.train_count, self._plan.max_tokens
        sample = [min(length, most or length) for length in self.sample_lengths(SAMPLED_DOCUMENTS, SAMPLED_TOKENS)]
        if not count or not sample:
            return None
        return PassSize(round(sum(sample) * count / len(sample)), len(sample) == count)

    @property
    def train_count(self) -> int | None:
        """Number of documents for training; None for a stream."""
        counts = [part.train_count for part in self.parts.values()]
        if self._text.stream is not None or None in counts:
            return None
        return len(self._text.train) + sum(count or 0 for count in counts)

    def train_documents(self) -> grain.IterDataset[Document]:
        """Training documents in the order in which they are packed."""
        data, seed = self._config.data, self._seed % 2**31
        if self._text.stream is None:
            order = seed if data.shuffle else None
            return in_order(self._text.train, repeat=data.repeat, shuffle_seed=order, passes=self._passes)
        documents: grain.IterDataset[Document] = StreamDataset(
            self._text.stream,
            self._text.stream_start,
            self._corpus,
            repeat=data.repeat,
            retry=self._retry,
            passes=self._passes,
        )
        if data.shuffle:
            documents = WindowShuffleIterDataset(documents, window_size=data.shuffle_buffer_size, seed=seed)
        return documents

    def eval_batches(self, devices: int = 1) -> Iterator[Batch]:
        """The held-out documents as batches `[1, batch, seq]`: always the same rows, the end padded.

        Every token is a target once, but for the first of each document.

        Args:
            devices: how many share a batch, which has `train.batch_size` rows for each.
        """
        if self._eval_tokens is None:
            self._eval_tokens = [self._plan.encode(document) for document in self._heldout]
        return scored_batches(self._eval_tokens, self._plan, f"the evaluation text of {self._text.name}", devices)

    def training_texts(self) -> list[tuple[str, Documents]]:
        """The documents for training by the name of their text, as far as they can be read in any order."""
        own = [] if self.parts or self._text.stream is not None else [(self._text.name, self._text.train)]
        return own + [text for part in self.parts.values() for text in part.training_texts()]

    def iter_heldout_texts(self) -> Iterator[str]:
        """The held-out documents as text, decoded on access if the source holds token ids."""
        return (item if isinstance(item, str) else self._tokenizer.decode(item) for item in self._heldout)

    def heldout_texts(self) -> list[str]:
        """All held-out documents as text."""
        return list(self.iter_heldout_texts())

    def describe(self) -> str:
        """A description in one line."""
        return f"{self._text.description}; {plural(len(self._heldout), 'document')} held out for evaluation"

    def describe_state(self, state: dict[str, Any]) -> dict[str, int]:
        """A summary of a saved state: documents read and skipped, and the pass of one text."""
        if self.parts:
            each = [part.describe_state(state["sources"][name]) for name, part in self.parts.items()]
            return {name: sum(one[name] for one in each) for name in ("documents", "skipped")}
        facts = {"documents": state["documents"], "skipped": state["skipped"]}
        if self._text.stream is None:
            return {"epoch": state["documents"] // len(self._text.train), **facts}
        cursor = state["parent"].get("parent_window_start_state", state["parent"])
        return {"epoch": cursor["epoch"], **facts}

    def epochs(self, state: dict[str, Any]) -> float:
        """Passes over one text at a saved state, by documents; 0 for a stream whose length is not known yet.

        Of the current document, or group of documents, that share counts that has been handed out.
        """
        if self._text.stream is None:
            return passes_of_documents(state, len(self._text.train))
        return passes_of_stream(state, self._corpus.documents)

    def by_source(self, state: dict[str, Any]) -> dict[str, SourceProgress]:
        """Of a mixture, what has been read of each source at a saved state."""
        return {
            name: SourceProgress(state["read"][name], part.epochs(state["sources"][name]))
            for name, part in self.parts.items()
        }

    def ended(self, state: dict[str, Any]) -> list[str]:
        """Sources of a mixture that are exhausted at a saved state."""
        return [name for name in self.parts if state["ended"][name]]

    def documents_between(self, before: dict[str, Any], after: dict[str, Any]) -> "BatchOrigin":
        """The documents of the batch between two saved states."""
        if self.parts:
            return self._of_sources(before["sources"], after["sources"])
        first, end = before["documents"], self._read_at_most(after)
        named: list[int] = []
        if self._text.stream is None:
            if self._passes is not None:
                end = min(end, self._passes * len(self._text.train))
            named = self._positions(range(first, min(end, first + MOST_NAMED)))
        return BatchOrigin(self._text.name, first, end - first, named)

    def _of_sources(self, before: dict[str, Any], after: dict[str, Any]) -> "BatchOrigin":
        """The documents of a batch of several sources, in words: positions are those of a source."""
        found = {name: part.documents_between(before[name], after[name]) for name, part in self.parts.items()}
        read = {name: origin for name, origin in found.items() if origin.document_count}
        words = [
            f"{name}: " + (", ".join(map(str, one.documents)) or plural(one.document_count, "document"))
            for name, one in read.items()
        ]
        first, count = sum(one.first_read for one in found.values()), sum(one.document_count for one in read.values())
        return BatchOrigin(f"{self._text.name} ({'; '.join(words)})", first, count, [])

    def places(self, parts: Sequence[Part]) -> list[str]:
        """Where the documents of parts of a batch are: file and row where that is known.

        Raises:
            DataError: a file cannot be read.
        """
        if self.parts:
            return [f"{part.source}: {self.parts[part.source].places([part])[0]}" for part in parts]
        text, numbers = self._text, [part.number for part in parts]
        if text.source is None:
            return [f"document {number + 1:,} that was read of {text.name}" for number in numbers]
        return text.source.places(self._positions(numbers))

    def _positions(self, numbers: Sequence[int]) -> list[int]:
        """Positions in a random-access source of documents by their numbers in the order of reading."""
        data, train = self._config.data, self._text.train
        seed = self._seed % 2**31 if data.shuffle else None
        order = _ordered(range(len(train)), repeat=data.repeat, shuffle_seed=seed)
        chosen = [int(order[number]) for number in numbers]
        return [train.position(index) if isinstance(train, Selection) else index for index in chosen]

    def _read_at_most(self, state: dict[str, Any]) -> int:
        """Documents begun at `state`, including the current document or group."""
        inside = bool(state.get("offset") or state.get("rows_used"))
        return int(state["documents"]) + inside * (
            self._config.data.packing_buffer_docs if self._config.data.packing_mode == "bin" else 1
        )

    def cancel_retries(self) -> None:
        """End every wait for a retry, now and later, with a DataError. From any thread."""
        self._retry.stop.set()

    def close(self) -> None:
        """Stop reading; ends waiting for retries at once, and waits only a moment for a read in progress."""
        self._retry.stop.set()
        for iterator in self._iterators:
            iterator.close()
        self._iterators.clear()


def scored_batches(documents: list[Tokens], plan: PackPlan, name: str, devices: int = 1) -> Iterator[Batch]:
    """Documents as batches `[1, batch, seq]`, in which every token is a target once, but for the first of each.

    Args:
        plan: the packing of the training batches.
        name: of the text, for messages.
        devices: how many share a batch.
    """
    shape = plan.shape
    whole = replace(plan, shape=shape._replace(accum=1, batch=devices * shape.batch), overlap=True)
    packed = SequentialPackDataset(
        in_order(documents, repeat=False, shuffle_seed=None), whole, Corpus(name, len(documents))
    )
    return iter(packed)


def build_data(
    config: Config, derived: Derived, tokenizer: Tokenizer, *, vocab_size: int | None = None
) -> DataPipeline:
    """Open the configured text and hold some of it out for evaluation.

    Args:
        config: a checked configuration.
        derived: its derived numbers.
        tokenizer: from `build_tokenizer`.
        vocab_size: rows of the model's embedding; None takes `model.vocab_size` or the tokenizer's padded size.

    Raises:
        ConfigError: the `data` section is impossible.
        DataError: the text cannot be found, reached or used.
    """
    limit = vocab_size or config.model.vocab_size or tokenizer.padded_vocab_size
    data = config.data
    retry = RetryPolicy(data.max_retries, data.retry_delay_seconds)
    text = open_text(data, tokenizer, limit, retry)
    return DataPipeline(text, config, derived, tokenizer, vocab_size=limit, retry=retry)


def _of_source(config: Config, derived: Derived, name: str) -> tuple[Config, Derived]:
    """The configuration of one source, whose batches are single rows; its order depends on its name alone."""
    train = config.train.model_copy(update={"batch_size": 1})
    seed = derived.shuffle_seed ^ zlib.crc32(name.encode())
    own = config.model_copy(update={"data": of_source(config.data, name), "train": train})
    return own, replace(derived, grad_accum=1, shuffle_seed=seed, mixture=False)


def _corpus(text: Text, data: DataConfig) -> Corpus:
    """Describe the text to packers; two reads of a document are at most one pass, or two shuffle windows, apart."""
    if text.stream is None:
        documents = len(text.train)
        return Corpus(text.name, documents, documents if data.shuffle else 0)
    return Corpus(text.name, None, 2 * data.shuffle_buffer_size if data.shuffle else 0)


def in_order(
    documents: Documents, *, repeat: bool, shuffle_seed: int | None, passes: int | None = None
) -> grain.IterDataset[Document]:
    """Random-access documents as an iterator, with a new shuffle in every pass if a seed is given.

    Args:
        passes: how many there are if it repeats; None for no end.
    """
    # Reading ahead is the batch prefetch's work; threads here would only contend for the GIL.
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return _ordered(documents, repeat=repeat, shuffle_seed=shuffle_seed, passes=passes).to_iter_dataset(options)


def _ordered(
    items: Documents | Sequence[int], *, repeat: bool, shuffle_seed: int | None, passes: int | None = None
) -> grain.MapDataset[Any]:
    dataset = grain.MapDataset.source(items)
    if shuffle_seed is not None:
        dataset = dataset.shuffle(seed=shuffle_seed)
    return dataset.repeat(passes) if repeat else dataset
