"""The options of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ExportOptions:
    """How a model is written.

    Attributes:
        dtype: of weights; None keeps that of the checkpoint. `q8_0` is llama.cpp's, in blocks of 32 bytes and a scale.
        seq_len: tokens of a row where a format needs a number; None takes that of training.
        measure: whether a format that changes weights says what that costs on the run's held-out text.
    """

    dtype: Literal["float32", "bfloat16", "float16", "q8_0"] | None = None
    seq_len: int | None = None
    measure: bool = True
