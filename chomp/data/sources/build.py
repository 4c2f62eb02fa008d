"""From the `data` section to opened text, with the evaluation part already put aside."""

from dataclasses import dataclass, field, replace
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.heldout import Documents, Selection, heldout_count, hold_out, spread
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document, RandomAccessSource, StreamSource, digest_documents
from chomp.data.sources.memory import inline_source, stdlib_source
from chomp.data.stream import StreamReader
from chomp.data.tokenizers import Tokenizer
from chomp.errors import ConfigError, DataError


@dataclass(frozen=True)
class Text:
    """Opened text, divided.

    Attributes:
        name: the source, for messages.
        description: one line.
        fingerprint: what was opened.
        heldout_rule: how evaluation text was put aside.
        evaluation: documents that training never reads.
        retry: what to do when reading fails; its `stop` ends all waiting.
        train: documents by random access; empty for a stream.
        stream: the stream to train on, or None.
        stream_start: cursor behind the stream's held-out documents.
    """

    name: str
    description: str
    fingerprint: dict[str, Any]
    heldout_rule: dict[str, Any]
    evaluation: Documents
    retry: RetryPolicy
    train: Documents = field(default_factory=list)
    stream: StreamSource | None = None
    stream_start: str | None = None


def open_text(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open what `data.backend` names.

    Args:
        data: the section.
        tokenizer: whose end-of-text id divides a token file into documents.
        vocab_size: ids of a token file must be below this.
        retry: for sources behind a network.

    Raises:
        ConfigError: a setting that the backend needs is missing.
        DataError: the text cannot be found, reached or used.
    """
    if data.backend == "local_text":
        return divide(inline_source(data.local_text), data, retry)
    if data.backend == "stdlib":
        return divide(stdlib_source(), data, retry)
    if data.backend == "tokens":
        from chomp.data.sources.tokens import token_sources

        train, evaluation = token_sources(data, tokenizer, vocab_size)
        return divide(train, data, retry) if evaluation is None else set_aside(train, evaluation, data, retry)
    if data.backend == "files":
        from chomp.data.sources.files import FilesSource

        return divide(FilesSource(data), data, retry)
    return open_hub(data, retry)


def divide(source: RandomAccessSource, data: DataConfig, retry: RetryPolicy) -> Text:
    """Hold some documents of a random-access source out for evaluation."""
    parts = hold_out(source, data.max_eval_samples)
    return Text(
        name=source.name,
        description=source.describe(),
        fingerprint=source.fingerprint(),
        heldout_rule=parts.rule,
        evaluation=parts.evaluation,
        retry=retry,
        train=parts.train,
    )


def set_aside(source: RandomAccessSource, evaluation: RandomAccessSource, data: DataConfig, retry: RetryPolicy) -> Text:
    """Evaluate on documents of another source, evenly spread."""
    chosen = Selection(evaluation, spread(min(data.max_eval_samples, len(evaluation)), len(evaluation)))
    rule = {"rule": "file", "documents": len(chosen), "digest": evaluation.fingerprint()["digest"]}
    return Text(source.name, source.describe(), source.fingerprint(), rule, chosen, retry, train=source)


def open_hub(data: DataConfig, retry: RetryPolicy) -> Text:
    """Open a dataset of the hub, streamed or downloaded."""
    from chomp.data.sources.hub import HubSplit, HubStream, describe_split, pinned, retriable_errors

    if data.hf_eval_split is not None and data.hf_eval_split == data.hf_split:
        raise ConfigError(
            f"data.hf_eval_split and data.hf_split are both {data.hf_split}: evaluation text would be training text; "
            f"choose another split, or null to hold out documents"
        )
    opening = without_patience(retry)
    data = opening.call(describe_split(data, data.hf_split), retriable_errors(), lambda: pinned(data))
    if data.hf_streaming:
        stream = HubStream(data, data.hf_split)
        opening.call(stream.name, stream.retriable, stream.reach)
        return divide_stream(stream, data, retry)
    source = HubSplit(data, data.hf_split, opening)
    if data.hf_eval_split is None:
        return divide(source, data, retry)
    evaluation = HubSplit(data, data.hf_eval_split, opening)
    chosen = Selection(evaluation, spread(min(data.max_eval_samples, len(evaluation)), len(evaluation)))
    rule = {"rule": "split", "split": data.hf_eval_split, "documents": len(chosen)}
    return Text(source.name, source.describe(), source.fingerprint(), rule, chosen, retry, train=source)


def without_patience(retry: RetryPolicy) -> RetryPolicy:
    """For the first contact: nothing is lost yet, and the hub's client has tried for half a minute by itself."""
    return replace(retry, max_retries=0)


def divide_stream(source: StreamSource, data: DataConfig, retry: RetryPolicy) -> Text:
    """Put the evaluation documents of a stream aside and find where training starts.

    They are the first `data.max_eval_samples` documents, and training starts behind them in every
    pass. Of a stream that ends before it has so many, as many as of a random-access source.

    Raises:
        DataError: the stream is out of reach, or too short to be divided.
    """
    from chomp.data.sources.hub import HubStream

    split = data.hf_eval_split
    evaluated = source if split is None else HubStream(data, split)
    head, positions = read_head(evaluated, data.max_eval_samples, retry)
    start = None
    rule: dict[str, Any] = {"rule": "split", "split": split, "documents": len(head)}
    if split is None:
        if len(head) < data.max_eval_samples:
            if len(head) < 2:
                raise DataError(
                    f"{source.name} is a stream of {len(head)} document{'' if len(head) == 1 else 's'}, too short to "
                    f"hold one out for evaluation; set data.hf_streaming: false or name a data.hf_eval_split"
                )
            head = head[: heldout_count(len(head), data.max_eval_samples)]
        start = positions[len(head) - 1]
        rule = {"rule": "first", "documents": len(head)}
    fingerprint = {**source.fingerprint(), "first_documents": digest_documents(head)}
    return Text(source.name, source.describe(), fingerprint, rule, head, retry, stream=source, stream_start=start)


def read_head(source: StreamSource, count: int, retry: RetryPolicy) -> tuple[list[Document], list[str]]:
    """The first documents of a stream, at most `count`, and the cursor behind each."""
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
