"""Opens the text of the `data` section and holds out the evaluation part."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.heldout import Documents, Selection, heldout_count, hold_out, spread
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document, RandomAccessSource, StreamSource, digest_documents
from chomp.data.tokenizers import Tokenizer
from chomp.errors import DataError


@dataclass(frozen=True)
class Text:
    """Opened text, divided.

    Attributes:
        name: the source, for messages.
        description: one line.
        fingerprint: what was opened.
        heldout_rule: how evaluation text was held out.
        evaluation: documents that training never reads.
        is_tokenized: whether documents are token ids, special ids included.
        train: documents by random access; empty for a stream.
        source: what they are taken from; None for a stream.
        stream: the stream to train on, or None.
        stream_start: cursor behind the stream's held-out documents.
        parts: of a mixture, its sources by name; it has documents for training only in these.
    """

    name: str
    description: str
    fingerprint: dict[str, Any]
    heldout_rule: dict[str, Any]
    evaluation: Documents
    is_tokenized: bool = False
    train: Documents = field(default_factory=list)
    source: RandomAccessSource | None = None
    stream: StreamSource | None = None
    stream_start: str | None = None
    parts: "Mapping[str, Text]" = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What was opened and how evaluation text was held out, JSON-able."""
        return {"source": self.fingerprint, "held_out": self.heldout_rule}


def open_text(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open what the section names: one text, or the sources of `data.mixture`.

    Errors and arguments are those of `open_source`.
    """
    if not data.mixture.sources:
        return open_source(data, tokenizer, vocab_size, retry)
    module = importlib.import_module("chomp.data.sources.mixture")
    text: Text = module.build(data, tokenizer, vocab_size, retry)
    return text


def open_source(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open what `data.backend` names.

    The backend is the module `chomp.data.sources.BACKEND`; its `build`, called with the same arguments, reads its own
    settings of `data`.

    Args:
        data: the section.
        tokenizer: whose end-of-text id divides a token file into documents.
        vocab_size: ids of a token file must be below this.
        retry: for sources behind a network.

    Raises:
        ConfigError: a setting that the backend needs is missing.
        DataError: the text cannot be found, reached or used.
    """
    module = importlib.import_module(f"chomp.data.sources.{data.backend}")
    text: Text = module.build(data, tokenizer, vocab_size, retry)
    return text


def divide(source: RandomAccessSource, data: DataConfig) -> Text:
    """Hold some documents of a random-access source out for evaluation."""
    parts = hold_out(source, data.max_eval_samples)
    return _random_access(source, parts.rule, parts.evaluation, parts.train)


def set_aside(source: RandomAccessSource, evaluation: RandomAccessSource, data: DataConfig, **rule: Any) -> Text:
    """Evaluate on documents of another source, evenly spread; `rule` describes that source."""
    chosen = Selection(evaluation, spread(min(data.max_eval_samples, len(evaluation)), len(evaluation)))
    return _random_access(source, {**rule, "documents": len(chosen)}, chosen, source)


def _random_access(source: RandomAccessSource, rule: dict[str, Any], evaluation: Documents, train: Documents) -> Text:
    facts = source.name, source.describe(), source.fingerprint()
    return Text(*facts, rule, evaluation, source.is_tokenized, train=train, source=source)


def divide_stream(source: StreamSource, data: DataConfig, retry: RetryPolicy) -> Text:
    """Hold the first `data.max_eval_samples` documents of a stream out for evaluation.

    Training starts behind them in every pass. Of a stream that ends before it has so many, as many are held out as of
    a random-access source.

    Raises:
        DataError: the stream is out of reach, or too short to be divided.
    """
    head, positions = read_head(source, data.max_eval_samples, retry)
    if len(head) < data.max_eval_samples:
        if len(head) < 2:
            raise DataError(
                f"{source.name} is a stream of {len(head)} document{'' if len(head) == 1 else 's'}, too short to "
                f"hold one out for evaluation; set data.hf_streaming: false or name a data.hf_eval_split"
            )
        head = head[: heldout_count(len(head), data.max_eval_samples)]
    return _stream(source, {"rule": "first"}, head, positions[len(head) - 1])


def set_aside_stream(
    source: StreamSource, evaluation: StreamSource, data: DataConfig, retry: RetryPolicy, **rule: Any
) -> Text:
    """Evaluate on the first documents of another stream; `rule` describes that stream.

    Raises:
        DataError: that stream is out of reach.
    """
    return _stream(source, rule, read_head(evaluation, data.max_eval_samples, retry)[0], None)


def _stream(source: StreamSource, rule: dict[str, Any], head: list[Document], start: str | None) -> Text:
    fingerprint = {**source.fingerprint(), "first_documents": digest_documents(head)}
    rule = {**rule, "documents": len(head)}
    return Text(source.name, source.describe(), fingerprint, rule, head, stream=source, stream_start=start)


def read_head(source: StreamSource, count: int, retry: RetryPolicy) -> tuple[list[Document], list[str]]:
    """The first documents of a stream, at most `count`, and the cursor behind each."""
    # It brings JAX, which a look at files has no use for.
    from chomp.data.stream import StreamReader

    reader = StreamReader(source, None, retry)
    documents: list[Document] = []
    positions: list[str] = []
    while len(documents) < count:
        try:
            documents.append(reader.read())
        except StopIteration:
            break
        positions.append(reader.position or "")
    return documents, positions
