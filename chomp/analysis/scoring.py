"""Text to score parameters on: what a run held out, or whole files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chomp.config.data import DataConfig
from chomp.config.derive import derive
from chomp.config.load import parse_resolved
from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.data.evaluation_sets import EvaluationSet, open_sets
from chomp.data.heldout import DIVIDING, Documents, Selection, thinned
from chomp.data.pipeline import DataPipeline
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document
from chomp.data.sources.build import Text, open_text
from chomp.data.sources.files import FilesSource
from chomp.errors import DataError
from chomp.generate.load import TrainedModel
from chomp.record.formatting import plural
from chomp.step.eval_step import make_eval_step
from chomp.train.evaluate import EvalResult, evaluate
from chomp.train.evaluations import training_text


@dataclass(frozen=True)
class Coverage:
    """What share of a text is scored; None where the size of the whole is not known.

    Attributes:
        text: "held-out" documents of a source, or the "whole" of some files.
        bytes: of the scored documents.
        cut_after: tokens after which `data.max_doc_tokens` cuts each of them; None if it does not.
    """

    text: Literal["held-out", "whole"]
    documents: int
    of_documents: int | None
    bytes: int
    of_bytes: int | None
    cut_after: int | None = None

    def in_words(self) -> str:
        """One line for people."""
        documents, size = plural(self.documents, "document"), plural(self.bytes, "byte")
        if self.text == "whole":
            return f"scored: the whole of {documents}, {size}; nothing predicts the first token of each"
        if self.of_bytes is not None:
            scored = f"the held-out end of the only document, {self.bytes:,} of {plural(self.of_bytes, 'byte')}"
        else:
            of = "" if self.of_documents is None else f" of {self.of_documents:,}"
            scored = f"{self.documents:,}{of} documents, held out, {size}"
        if self.cut_after is not None:
            scored += f", each cut after {self.cut_after:,} tokens (data.max_doc_tokens)"
        return f"scored: {scored}; --text FILE... scores whole files"


@dataclass(frozen=True)
class Scoring:
    """A pass over text; it takes parameters of the model and can be called again.

    Attributes:
        sets: the same for each evaluation set of the configuration, by name.
        warnings: a sentence on a document of a set that is training text, and one where fewer documents are scored than
            were asked for, as the others are training text.
    """

    coverage: Coverage
    score: Callable[[Any], EvalResult]
    sets: Mapping[str, Callable[[Any], EvalResult]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __call__(self, params: Any) -> EvalResult:
        return self.score(params)


@contextmanager
def open_heldout(trained: TrainedModel, overrides: Sequence[str] = (), files: Sequence[Path] = ()) -> Iterator[Scoring]:
    """Open the text that the run held out, or files.

    Args:
        overrides: `KEY=VALUE` texts, for other text or limits than the run's.
        files: to score instead, whole, as `data.files` is read.

    Raises:
        DataError: there is no text to score.
    """
    loaded = parse_resolved(trained.config.model_dump(), source=str(trained.info.path), overrides=overrides)
    config, tokenizer, size = loaded.config, trained.tokenizer, trained.config.model.vocab_size
    if files:
        config = config.model_copy(update={"data": config.data.model_copy(update={"max_doc_tokens": None})})
    assert size is not None
    retry = RetryPolicy(config.data.max_retries, config.data.retry_delay_seconds)
    warnings: list[str] = []
    text = _whole(files, config.data) if files else _held_out(trained, config.data, retry, warnings.append)
    data = DataPipeline(text, config, derive(config), tokenizer, vocab_size=size, retry=retry)
    isolate = config.data.isolate_documents
    try:
        if not data.has_eval:
            raise DataError(
                f"{text.name} has too little text to score; name longer files"
                if files
                else "there is no held-out text to evaluate on; set data.hf_eval_split or give more documents"
            )
        step, lengths = make_eval_step(trained.model_def, isolate=isolate), tokenizer.byte_lengths()

        def over(batches: Callable[[], Iterable[Batch]]) -> Callable[[Any], EvalResult]:
            return lambda params: evaluate(params, step, batches(), lengths, isolate=isolate)

        sets = () if files else _open_sets(trained, config, data, warnings)
        yield Scoring(
            replace(_coverage(text, lengths, whole=bool(files)), cut_after=config.data.max_doc_tokens),
            over(data.eval_batches),
            {one.name: over(one.batches) for one in sets},
            tuple(warnings),
        )
    finally:
        data.close()


def _held_out(trained: TrainedModel, data: DataConfig, retry: RetryPolicy, warn: Callable[[str], None]) -> Text:
    """Open the text of `data`; that of the run divided as the run did, since all the rest of it is training text."""
    size, own, most = trained.config.model.vocab_size, trained.config.data.max_eval_samples, data.max_eval_samples
    assert size is not None

    def opened(most: int) -> Text:
        return open_text(data.model_copy(update={"max_eval_samples": most}), trained.tokenizer, size, retry)

    text = opened(own)
    if most == own:
        return text
    is_divided = any(part.heldout_rule["rule"] in DIVIDING for part in text.parts.values() or (text,))
    identity = trained.info.meta.get("identity") or {}
    if not is_divided or identity.get("data_fingerprint") != text.identity:
        return opened(most)
    held_out = len(text.evaluation)
    if most > held_out:
        warn(
            f"data.max_eval_samples is {most:,}, but the run held out {plural(held_out, 'document')} and trained on "
            f"the others: only what it held out is scored"
        )
    return replace(text, evaluation=thinned(text.evaluation, most))


def _open_sets(
    trained: TrainedModel, config: Config, data: DataPipeline, warnings: list[str]
) -> tuple[EvaluationSet, ...]:
    """Open the evaluation sets; the run's own were compared with its training text when it began."""
    training = training_text(config, trained.tokenizer, data, {str(trained.info.meta.get("apart"))})
    return open_sets(config, data.text_plan, training, warnings.append)


def _whole(files: Sequence[Path], data: DataConfig) -> Text:
    source = FilesSource(data, [str(path) for path in files], "--text")
    return Text(source.name, source.describe(), {}, {"rule": "whole"}, source)


def _coverage(text: Text, lengths: np.ndarray, *, whole: bool) -> Coverage:
    scored = text.evaluation
    size = _size(scored, lengths)
    if whole:
        return Coverage("whole", len(scored), len(scored), size, size)
    if text.heldout_rule["rule"] == "tail":
        return Coverage("held-out", 1, 1, size, size + _size(text.train, lengths))
    return Coverage("held-out", len(scored), scored.of if isinstance(scored, Selection) else None, size, None)


def _size(documents: Documents, lengths: np.ndarray) -> int:
    return sum(_bytes(documents[index], lengths) for index in range(len(documents)))


def _bytes(document: Document, lengths: np.ndarray) -> int:
    return len(document.encode("utf-8", "replace")) if isinstance(document, str) else int(lengths[document].sum())
