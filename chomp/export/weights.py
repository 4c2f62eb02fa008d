"""Parameters as NumPy arrays by name."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from chomp.model.paths import named_leaves

DTYPES = {"float32": np.dtype("float32"), "float16": np.dtype("float16"), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def arrays_of(params: Any) -> dict[str, np.ndarray]:
    """Parameters by dotted name; on a CPU nothing is copied."""
    return {path: np.ascontiguousarray(leaf) for path, leaf in named_leaves(params)}


def in_dtype(value: np.ndarray, dtype: str | None) -> np.ndarray:
    """A weight in another floating dtype; None leaves it."""
    return value if dtype is None else value.astype(DTYPES[dtype], copy=False)
