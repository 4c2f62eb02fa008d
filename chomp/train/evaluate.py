"""One fixed pass over the held-out text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from chomp.data.batch import Batch
from chomp.model.loss import scored_tokens
from chomp.parallel.mesh import ONE_DEVICE, Placement


@dataclass(frozen=True)
class EvalResult:
    """Loss in nats per token and bits per UTF-8 byte of the predicted text; special tokens have no bytes.

    `unigram_loss` is the unigram baseline: the entropy of the scored tokens' frequencies, in nats per token. A loss
    below it shows that the model uses context.
    """

    loss: float
    bpb: float | None
    unigram_loss: float
    tokens: int
    bytes: int
    seconds: float

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


def evaluate(
    params: Any,
    eval_step: Callable[..., Any],
    batches: Iterable[Batch],
    byte_lengths: np.ndarray,
    *,
    isolate: bool,
    check_stop: Callable[[], None] = lambda: None,
    placement: Placement = ONE_DEVICE,
) -> EvalResult:
    """Score every held-out token once, except the first of each document.

    Args:
        batches: `[1, batch, seq]`, the tail padded.
        byte_lengths: UTF-8 bytes by token id.
        check_stop: called before each batch; may raise to leave.
        placement: the mesh whose devices share the rows of a batch.
    """
    started = time.monotonic()
    loss, tokens = 0.0, 0
    occurrences = np.zeros(len(byte_lengths), np.int64)
    for batch in batches:
        check_stop()
        rows: Batch = jax.tree.map(lambda field: field[0], batch)
        sums = eval_step(params, placement.place_rows(rows))
        scored = scored_tokens(rows.labels, rows.segment_ids, isolate)
        occurrences += np.bincount(scored, minlength=len(occurrences))
        # Added in double precision: thousands of fp32 sums would round in the fifth digit.
        loss += float(sums.loss)
        tokens += int(sums.tokens)
    mean = loss / tokens if tokens else math.nan
    count = int(occurrences @ byte_lengths.astype(np.int64))
    bpb = loss / math.log(2) / count if count else None
    return EvalResult(mean, bpb, entropy(occurrences), tokens, count, time.monotonic() - started)


def entropy(occurrences: np.ndarray) -> float:
    """The entropy in nats of a distribution given as counts; NaN if there are none."""
    total = occurrences.sum()
    if not total:
        return math.nan
    shares = occurrences[occurrences > 0] / total
    return float(-(shares * np.log(shares)).sum())
