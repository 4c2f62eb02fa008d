"""One fixed pass over the held-out text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chomp.data.batch import Batch
from chomp.model.loss import target_bytes


@dataclass(frozen=True)
class EvalResult:
    """Loss in nats per token and bits per UTF-8 byte of the predicted text; special tokens have no bytes."""

    loss: float
    bpb: float | None
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
) -> EvalResult:
    """Score every held-out token once, but for the first of each row, which nothing precedes.

    Args:
        batches: `[1, batch, seq]`, the tail padded.
        byte_lengths: UTF-8 bytes by token id.
        check_stop: called before each batch; may raise to leave.
    """
    started = time.monotonic()
    loss, tokens, count = 0.0, 0, 0
    for batch in batches:
        check_stop()
        rows = Batch(*(field[0] for field in batch))
        sums = eval_step(params, rows)
        count += target_bytes(rows.labels, rows.segment_ids if isolate else None, byte_lengths)
        # Added in double precision: thousands of fp32 sums would round in the fifth digit.
        loss += float(sums.loss)
        tokens += int(sums.tokens)
    mean = loss / tokens if tokens else math.nan
    bpb = loss / math.log(2) / count if count else None
    return EvalResult(mean, bpb, tokens, count, time.monotonic() - started)
