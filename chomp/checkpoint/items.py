"""A training state as named Orbax items, and back.

Every array gets a name made from its path (`layers.0.attn.wz.weight`), so that what is on
disk does not depend on Python classes and one item can be read without the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chomp.model.mtp import WithHeads, heads_of, trunk_of
from chomp.model.paths import dotted, named_leaves
from chomp.step.state import TrainState

COUNTERS = ("step", "updates", "skipped", "skipped_in_a_row", "rng")
# Items that a checkpoint may lack.
EXTRAS = ("spikes", "ema")


def to_items(state: TrainState) -> dict[str, dict[str, Any]]:
    """Items `params`, `opt` and `state`, and those of heads and extras, each a flat table of arrays by name.

    The heads have an item of their own, so that `params` holds the same names with and without them.
    """
    heads = heads_of(state.params)
    return {
        "params": dict(named_leaves(trunk_of(state.params))),
        **({"mtp": dict(named_leaves(heads))} if heads else {}),
        "opt": dict(named_leaves(state.opt_state)),
        "state": {name: getattr(state, name) for name in COUNTERS},
        **({"spikes": dict(named_leaves(state.spikes))} if state.spikes is not None else {}),
        **({"ema": dict(named_leaves(state.ema))} if state.ema is not None else {}),
    }


def from_items(items: Mapping[str, Mapping[str, Any]], like: TrainState) -> TrainState:
    """The state whose items these are, at the full learning rate; `like` (abstract is enough) gives its structure.

    Items of extras may be missing: `chomp.step.state.with_extras` begins them.
    """
    params = fill(trunk_of(like.params), items["params"])
    if "mtp" in items:
        params = WithHeads(params, fill(heads_of(like.params), items["mtp"]))
    return TrainState(
        lr_factor=jnp.asarray(np.float32(1)),
        lr_factor_until=jnp.asarray(np.int32(0)),
        params=params,
        opt_state=fill(like.opt_state, items["opt"]),
        spikes=fill(like.spikes, items["spikes"]) if "spikes" in items else None,
        ema=fill(like.ema, items["ema"]) if "ema" in items else None,
        **{name: items["state"][name] for name in COUNTERS},
    )


def fill(like: Any, leaves: Mapping[str, Any]) -> Any:
    """A tree of `like`'s structure with the leaves of these names."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    return jax.tree.unflatten(structure, [leaves[dotted(path)] for path, _ in paths])
