"""The mean of several checkpoints' parameters, as a checkpoint of parameters alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.data_item import DataState
from chomp.checkpoint.reading import in_parts, load_part
from chomp.record.manifest import CheckpointInfo, seal


def mean_of(
    infos: Sequence[CheckpointInfo], item: str, stored: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    """Read the arrays of one item from verified checkpoints and return their means, added up in fp64.

    A part of the arrays is read from all checkpoints before the next part is, so that memory holds little beside the
    result.

    Args:
        infos: all with the same arrays.
        stored: shapes and dtypes of the item, which are also those of the means.

    Raises:
        CheckpointError: a checkpoint cannot be read.
    """
    means: dict[str, np.ndarray] = {}
    for names in in_parts({name: like.size * like.dtype.itemsize for name, like in stored.items()}):
        sums = {name: np.zeros(stored[name].shape, np.float64) for name in names}
        for info in infos:
            for name, array in load_part(info, item, stored, names).items():
                sums[name] += array
        means |= {name: (total / len(infos)).astype(stored[name].dtype) for name, total in sums.items()}
    return means


def write_parameters(target: Path, arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write a checkpoint that other commands read; training cannot continue from it, as it has no optimizer state.

    Args:
        target: its folder `checkpoints/STEP`, whose parent exists.
        meta: the description; `step` is that of the folder.
    """
    ocp.save_checkpointables(target.absolute(), {"params": dict(arrays), "data": DataState({})})
    seal(target, meta)
