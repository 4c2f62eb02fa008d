"""From the `data` section to opened text, with the evaluation part already put aside."""

from dataclasses import dataclass, field
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.heldout import Documents, hold_out
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import RandomAccessSource, StreamSource
from chomp.data.sources.memory import inline_source, stdlib_source
from chomp.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class Text:
    """Opened text, divided.

    Attributes:
        name: the source, for messages.
        description: one line for people.
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
    raise NotImplementedError(data.backend)


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
