"""The part of a batch that the model reads, as device arrays."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from chomp.data.batch import Batch


class Rows(NamedTuple):
    """Token ids, labels and, where documents are kept apart, their numbers; all of one shape."""

    input_ids: Int[Array, "*accum batch seq"]
    labels: Int[Array, "*accum batch seq"]
    segment_ids: Int[Array, "*accum batch seq"] | None


def rows_of(batch: Batch, isolate: bool) -> Rows:
    """Take from a batch what the model reads; `isolate` is `data.isolate_documents`."""
    segment_ids = jnp.asarray(batch.segment_ids) if isolate else None
    return Rows(jnp.asarray(batch.input_ids), jnp.asarray(batch.labels), segment_ids)
