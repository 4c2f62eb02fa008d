"""The held-out text of a finished run, to score parameters on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chomp.config.derive import derive
from chomp.config.load import parse_resolved
from chomp.data.pipeline import build_data
from chomp.errors import DataError
from chomp.generate.load import TrainedModel
from chomp.step.eval_step import make_eval_step
from chomp.train.evaluate import EvalResult, evaluate


@contextmanager
def open_heldout(trained: TrainedModel, overrides: Sequence[str] = ()) -> Iterator[Callable[[Any], EvalResult]]:
    """A pass over the text that the run held out; it takes parameters of the model and can be called again.

    Args:
        overrides: `KEY=VALUE` texts, for other text or limits than the run's.

    Raises:
        DataError: there is no held-out text.
    """
    loaded = parse_resolved(trained.config.model_dump(), source=str(trained.info.path), overrides=overrides)
    config = loaded.config
    data = build_data(config, derive(config), trained.tokenizer, vocab_size=trained.config.model.vocab_size)
    isolate = config.data.isolate_documents
    try:
        if not data.has_eval:
            raise DataError("there is no held-out text to evaluate on; set data.hf_eval_split or give more documents")
        step, lengths = make_eval_step(trained.model_def, isolate=isolate), trained.tokenizer.byte_lengths()
        yield lambda params: evaluate(params, step, data.eval_batches(), lengths, isolate=isolate)
    finally:
        data.close()
