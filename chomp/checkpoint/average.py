"""The mean of several checkpoints' parameters, as a checkpoint of parameters alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.data_item import DataState
from chomp.checkpoint.reading import load_to_host
from chomp.record.manifest import CheckpointInfo, seal


def mean_of(
    infos: Sequence[CheckpointInfo], item: str, stored: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    """Read the arrays of one item from verified checkpoints and return their means, added up in fp64.

    Memory holds the sums and the arrays of one checkpoint.

    Args:
        infos: all with the same arrays.
        stored: shapes and dtypes of the item, which are also those of the means.

    Raises:
        CheckpointError: a checkpoint cannot be read.
    """
    sums = {name: np.zeros(like.shape, np.float64) for name, like in stored.items()}
    for info in infos:
        for name, array in load_to_host(info, item, stored).items():
            sums[name] += array
    return {name: (sums.pop(name) / len(infos)).astype(like.dtype) for name, like in stored.items()}


def write_parameters(target: Path, arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write a checkpoint that other commands read; training cannot continue from it, as it has no optimizer state.

    Args:
        target: its folder `checkpoints/STEP`, whose parent exists.
        meta: the description; `step` is that of the folder.
    """
    ocp.save_checkpointables(target.absolute(), {"params": dict(arrays), "data": DataState({})})
    seal(target, meta)
