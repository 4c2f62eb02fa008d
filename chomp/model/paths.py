"""Dotted names of parameters."""

from typing import Any

import jax
from jaxtyping import PyTree


def dotted(path: tuple[Any, ...]) -> str:
    """Write a JAX key path as a dotted name, e.g. `model.layers.0.attn.wz.weight`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named_leaves(params: PyTree) -> list[tuple[str, Any]]:
    """List (dotted name, leaf) of a parameter tree, in the tree's own order."""
    return [(dotted(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
