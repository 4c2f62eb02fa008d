"""Reading checkpoints: each array to where it lies on the devices, or as numpy arrays with little memory beside them.

A checkpoint that many devices have written is one like any other: each array is stored whole, in parts, and a reader
takes the parts that it needs. Which devices wrote it does not matter.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.data_item import DataState
from chomp.checkpoint.reasons import reason_in_words
from chomp.errors import CheckpointError
from chomp.record.held_folder import HeldFolder, by_name
from chomp.record.manifest import CheckpointInfo, verify

log = logging.getLogger("chomp.checkpoint")

# About how many parts an item is read in to save memory; each part costs about a quarter of a second.
PARTS = 8


@dataclass(frozen=True)
class HostArray:
    """Restored as a numpy array: a shape and a dtype without a sharding (`ocp.arrays.AbstractArray`)."""

    shape: tuple[int, ...]
    dtype: Any


def load(
    info: CheckpointInfo,
    abstract: Mapping[str, Any],
    *,
    verified: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint whose bytes are as they were written.

    Args:
        info: which one.
        abstract: by item name, trees of `jax.ShapeDtypeStruct` with the shardings to restore to; items left out are
            not read.
        verified: the caller has just verified the bytes.

    Returns:
        The item trees, and the data iterator's state.

    Raises:
        CheckpointError: bytes are missing or changed; the files are named.
    """
    problems = [] if verified else verify(info.path)
    if problems:
        raise CheckpointError(f"checkpoint {info.step} ({info.path}) is damaged: {'; '.join(problems)}")
    data_state = DataState()
    loaded = _read(info, {**abstract, "data": data_state})
    assert data_state.state is not None
    return {name: loaded[name] for name in abstract}, data_state.state


def load_to_host(
    info: CheckpointInfo,
    item: str,
    abstract: Mapping[str, jax.ShapeDtypeStruct],
    chosen: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Read one item of a verified checkpoint as numpy arrays with little memory beside them.

    Orbax reads the arrays of one call at once, and each takes up to three times its size meanwhile: as it is
    stored, decompressed, and where it goes.

    Args:
        abstract: all arrays of the item.
        chosen: those that are read; None for all.

    Raises:
        CheckpointError: it cannot be read.
    """
    arrays: dict[str, np.ndarray] = {}
    sizes = {name: like.size * like.dtype.itemsize for name, like in abstract.items()}
    for names in in_parts({name: size for name, size in sizes.items() if chosen is None or name in chosen}):
        wanted = leaving_out({name: HostArray(like.shape, like.dtype) for name, like in abstract.items()}, names)
        read = _read(info, {item: wanted})[item]
        arrays |= {name: read[name] for name in names}
    return arrays


def leaving_out(abstract: Mapping[str, Any], chosen: Collection[str]) -> dict[str, Any]:
    """The arrays of an item, of which those that are not chosen stay in the file."""
    return {name: like if name in chosen else ocp.PLACEHOLDER for name, like in abstract.items()}


def _read(info: CheckpointInfo, wanted: Mapping[str, Any]) -> dict[str, Any]:
    try:
        # Orbax takes only names that are UTF-8.
        with HeldFolder(info.path.parent) as held:
            return ocp.load_checkpointables(held.through / info.path.name, dict(wanted))
    except Exception as error:
        log.exception("reading checkpoint %d failed", info.step)
        reason = by_name(reason_in_words(error), info.path.parent)
        raise CheckpointError(f"checkpoint {info.step} ({info.path}) cannot be read: {reason}") from error


def in_parts(sizes: Mapping[str, int]) -> list[set[str]]:
    """Names in groups of at most an eighth of all bytes, or of one larger array, the largest arrays first.

    What an array takes to be read is most for the largest, so it comes while nothing else is held.
    """
    most, room = sum(sizes.values()) // PARTS, 0
    parts: list[set[str]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if sizes[name] > room or not parts:
            parts.append(set())
            room = most
        parts[-1].add(name)
        room -= sizes[name]
    return parts


def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """`tree` of `ShapeDtypeStruct` with every leaf to be restored to `sharding`."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
