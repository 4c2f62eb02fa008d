"""The arrays one step consumes, and how they are filled in from packed token ids."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32

IGNORED = -100
"""Label of a position that counts in no loss."""


class Batch(NamedTuple):
    """Everything one step consumes.

    Labels are not shifted: `labels[..., t]` is the token to predict from the positions before t,
    so the model pairs `labels[..., 1:]` with its outputs at `[..., :-1]`.

    Attributes:
        input_ids: token ids; padding holds the tokenizer's padding id.
        labels: a copy of `input_ids` with -100 where no loss is taken.
        attention_mask: False at padding.
        segment_ids: 0 at padding, otherwise 1, 2, … for each document of the row.
        source_ids: place in the mixture of each row's source; None without a mixture.
    """

    input_ids: Int32[np.ndarray, "accum batch seq"]
    labels: Int32[np.ndarray, "accum batch seq"]
    attention_mask: Bool[np.ndarray, "accum batch seq"]
    segment_ids: Int32[np.ndarray, "accum batch seq"]
    source_ids: Int32[np.ndarray, "accum batch 1"] | None = None


class BatchShape(NamedTuple):
    """Micro-batches per step, rows per micro-batch, tokens per row."""

    accum: int
    batch: int
    seq: int

    @property
    def rows(self) -> int:
        """Rows of the whole batch."""
        return self.accum * self.batch

    @property
    def tokens(self) -> int:
        """Positions of the whole batch, padding included."""
        return self.rows * self.seq


class LabelRules(NamedTuple):
    """Which positions count in the loss and which may see each other.

    Attributes:
        pad_id: id written at padding.
        ignored_eos_id: end-of-text id left out of the loss, or None.
        mask_boundary: leave the first token of each document out of the loss.
        isolate: give each document of a row its own segment.
    """

    pad_id: int
    ignored_eos_id: int | None
    mask_boundary: bool
    isolate: bool


def finish_batch(
    ids: Int32[np.ndarray, "rows seq"],
    starts: Int[np.ndarray, " starts"],
    filled: Int[np.ndarray, " rows"],
    shape: BatchShape,
    rules: LabelRules,
) -> Batch:
    """Derive labels, mask and segments of packed rows.

    Args:
        ids: token ids; what lies past `filled` in a row is overwritten with padding.
        starts: flat positions at which a document begins.
        filled: tokens in each row; the rest of the row is padding.
        shape: `[accum, batch, seq]` of the result, `rows == accum * batch`.
        rules: what counts in the loss.
    """
    full = bool((filled == shape.seq).all())
    mask = np.ones(ids.shape, bool) if full else np.arange(shape.seq) < filled[:, None]
    if not full:
        ids[~mask] = rules.pad_id
    labels = ids.copy()
    if rules.mask_boundary:
        labels.reshape(-1)[starts] = IGNORED
    if rules.ignored_eos_id is not None:
        labels[ids == rules.ignored_eos_id] = IGNORED
    if rules.isolate:
        begins = np.zeros(ids.shape, np.int32)
        begins.reshape(-1)[starts] = 1
        begins[:, 0] = 1
        segments = np.cumsum(begins, axis=1, dtype=np.int32)
    else:
        segments = np.ones(ids.shape, np.int32)
    if not full:
        labels[~mask] = IGNORED
        segments[~mask] = 0
    return Batch(*(array.reshape(shape) for array in (ids, labels, mask, segments)))
