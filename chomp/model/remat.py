"""Which values of the forward pass are kept for the backward pass, and which are computed again (`model.remat`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from megalodon_jax.model import MegalodonBlock

from chomp.config.model import ModelConfig
from chomp.parallel.gather import has_shards, keep_but_gathered, scattered, whole

# Of a layer: `full` keeps its input alone, `dots` also the results of its projections.
_OF_LAYERS = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def policy_of(config: ModelConfig) -> str:
    """The policy by name; `use_checkpoint` is an older name of `full`."""
    return "full" if config.use_checkpoint else config.remat


def recompute_layer(run: Callable[..., Any], policy: str) -> Callable[..., Any]:
    """The same function of a layer, its first argument, whose values are kept as the policy says.

    Parameters that devices share are gathered for the layer, and again in the backward pass.
    """

    def gathered(layer: Any, *args: Any) -> Any:
        return run(whole(layer), *args)

    def recomputed(layer: Any, *args: Any) -> Any:
        shared = has_shards(layer)
        if shared:
            arrays, rest = eqx.partition((layer, args[0]), eqx.is_array)
            layer, x = eqx.combine(scattered(*arrays), rest)
            args = (x, *args[1:])
        kept = _OF_LAYERS.get(policy, keep_but_gathered if shared else None)
        inner = gathered if shared else run
        return (inner if kept is None else eqx.filter_checkpoint(inner, policy=kept))(layer, *args)

    return recomputed


def recompute_attention(run: Callable[..., Any], policy: str) -> Callable[..., Any]:
    """The same function of queries, keys and values, which are all that is kept under the policy `attention`."""
    return _keeping_arguments(run) if policy == "attention" else run


def _keeping_arguments(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, computed again in its backward pass, also inside of a layer that has a policy of its own.

    JAX applies the policy of an outer `jax.checkpoint` to what an inner one computes, too.
    """

    def recomputed(*args: Any) -> Any:
        closed = eqx.filter_closure_convert(run, *args)
        floats, rest = eqx.partition((closed, args), eqx.is_inexact_array)
        others, fixed = eqx.partition(rest, eqx.is_array)

        def applied(floats: Any, others: Any) -> Any:
            closed, args = eqx.combine(floats, others, fixed)
            return closed(*args)

        def forward(floats: Any, others: Any) -> tuple[Any, Any]:
            return applied(floats, others), (floats, others)

        def backward(kept: Any, slope: Any) -> tuple[Any, None]:
            # The barrier keeps the compiler from taking what the forward pass computed.
            (floats, others), slope = jax.lax.optimization_barrier((kept, slope))
            (slopes,) = jax.vjp(lambda floats: applied(floats, others), floats)[1](slope)
            return slopes, None

        once = jax.custom_vjp(applied)
        once.defvjp(forward, backward)
        return once(floats, others)

    return recomputed


class RematBlock(MegalodonBlock):
    """The library's `MegalodonBlock`, in training kept as a policy says.

    Attributes:
        policy: by name.
    """

    policy: str = eqx.field(static=True, default="full")

    def __call__(self, x: Any, cache: Any = None, *args: Any, **settings: Any) -> Any:
        """See `MegalodonBlock.__call__`."""
        if cache is not None or settings.get("return_cache"):
            return super().__call__(x, cache, *args, **settings)
        return recompute_layer(_applied, self.policy)(self, x, args, settings)


def _applied(block: MegalodonBlock, x: Any, args: Any, settings: Any) -> Any:
    return MegalodonBlock.__call__(block, x, None, *args, **settings)
