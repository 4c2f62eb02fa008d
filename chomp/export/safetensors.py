"""Safetensors files, written one tensor after another.

The `safetensors` package takes all tensors of a file at once, so that all converted ones would be in memory together.
The format is a header's length in 8 bytes, the header as JSON, and the tensors' bytes without a gap
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chomp.export.weights import Weight

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
ALIGNMENT = 8


def write_tensors(path: Path, weights: Mapping[str, Weight], metadata: Mapping[str, str]) -> None:
    """Write a file of tensors by name.

    Raises:
        OSError: the disk does not take it.
    """
    # Wide numbers first, so that every tensor is aligned to its own.
    ordered = sorted(weights.items(), key=lambda entry: (-entry[1].dtype.itemsize, entry[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, weight in ordered:
        start, end = end, end + weight.nbytes
        header[name] = {"dtype": NAMES[weight.dtype.name], "shape": list(weight.shape), "data_offsets": [start, end]}
    described = json.dumps(header, separators=(",", ":")).encode()
    described += b" " * (-len(described) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(described).to_bytes(8, "little") + described)
        for _, weight in ordered:
            weight.tofile(file)
