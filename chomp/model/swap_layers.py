"""Computing a library's layers in another way: the same parameters in a subclass of theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import PyTree

M = TypeVar("M", bound=eqx.Module)


def swap_layer(module: eqx.Module, kind: type[M], **settings: Any) -> M:
    """The same parameters, arrays or shapes, and settings as one of `kind`, a subclass of the module's class.

    Args:
        settings: fields that only `kind` has; those with a default need none.
    """
    made = object.__new__(kind)
    kept = {field.name: getattr(module, field.name) for field in dataclasses.fields(module)}
    for name, value in {**kept, **settings}.items():
        # A module is frozen once it has been made.
        object.__setattr__(made, name, value)
    return made


class Swap:
    """A subclass of a layer's class, and what its own fields are set to."""

    def __init__(self, kind: type[eqx.Module], **settings: Any) -> None:
        self.kind, self.settings = kind, settings


def swap_layers(network: PyTree, swaps: Mapping[type[eqx.Module], Swap]) -> PyTree:
    """The same network with every part of exactly one of these classes as one of its subclass."""
    return jax.tree.map(
        lambda part: (
            swap_layer(part, swaps[type(part)].kind, **swaps[type(part)].settings) if type(part) in swaps else part
        ),
        network,
        is_leaf=lambda part: type(part) in swaps,
    )
