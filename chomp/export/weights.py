"""Parameters as tensors of a file, converted when they are written, some rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import ml_dtypes
import numpy as np

from chomp.model.paths import named_leaves

DTYPES = {"float32": np.dtype("float32"), "float16": np.dtype("float16"), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
Rows = slice | np.ndarray
"""Places on a tensor's first axis."""
BLOCK_BYTES = 1 << 20
"""About how much of a tensor is converted at once; the conversion needs several times as much memory."""


@dataclass(frozen=True)
class Weight:
    """A tensor of a file, converted when it is written.

    Attributes:
        rows: some of its rows, converted to `dtype`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: Callable[[Rows], np.ndarray]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[slice]:
        """All rows, as many at once as should be converted together."""
        step = max(1, BLOCK_BYTES * self.shape[0] // max(1, self.nbytes))
        for start in range(0, self.shape[0], step):
            yield slice(start, start + step)

    def tofile(self, file: IO[bytes]) -> None:
        """Append its bytes, like `numpy.ndarray.tofile`, but with the disk's own error."""
        for block in self.blocks():
            numbers = self.rows(block)
            assert (numbers.shape[1:], numbers.dtype) == (self.shape[1:], self.dtype)
            file.write(np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data)


def weights_of(params: Any, dtype: str | None = None) -> dict[str, Weight]:
    """Parameters by dotted name, in another floating dtype if one is named; on a CPU nothing else is copied."""
    return {path: _weight(leaf, leaf.dtype if dtype is None else DTYPES[dtype]) for path, leaf in named_leaves(params)}


def _weight(leaf: Any, dtype: np.dtype[Any]) -> Weight:
    return Weight(leaf.shape, dtype, lambda rows: np.asarray(leaf)[rows].astype(dtype, copy=False))
