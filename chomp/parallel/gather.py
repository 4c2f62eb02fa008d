"""Parameters that several devices share, made whole where a layer reads them.

Inside `jax.shard_map` a device holds its part of each large parameter. A layer calls `whole` on itself before it
computes: the parts are gathered in the dtype in which the layer multiplies, and the gradient of the whole parameter is
summed over the devices in fp32 while it is cut into parts again (reduce-scatter). Nothing here happens on one device,
where no parameter is a `Shard`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

T = TypeVar("T")

AXIS = "fsdp"
"""Axis of the mesh along which devices share parameters."""

# What a backward pass computes again where a layer's parameters are gathered again: the gathered parameters, with what
# lies between them and the products that read them (together the whole model), and all that is computed element by
# element from values that are kept. The latter XLA computes again by itself where no boundary is around a layer, as it
# fuses such a value into each of its readers; what crosses the boundary, it must store. Comparisons are kept: a byte of
# the mask of dropout is made from four random ones.
_AGAIN = frozenset(
    {
        "all_gather", "bitcast_convert_type", "broadcast_in_dim", "concatenate", "convert_element_type", "copy",
        "dynamic_slice", "expand_dims", "iota", "pad", "reduce_precision", "reshape", "rev", "slice", "split",
        "squeeze", "transpose",
        "abs", "add", "add_any", "clamp", "complex", "conj", "cos", "div", "erf", "exp", "exp2", "expm1", "imag",
        "integer_pow", "log", "log1p", "logistic", "max", "min", "mul", "neg", "pow", "real", "rsqrt", "select_n",
        "sign", "sin", "sqrt", "square", "sub", "tanh",
    }
)  # fmt: skip


class Shard(eqx.Module):
    """One device's part of a parameter.

    Attributes:
        part: the whole but for `axis`, of which it has one part of as many as there are devices along `AXIS`.
        axis: which axis of the parameter is cut.
        count: parts there are.
        dtype: in which it is gathered.
    """

    part: Array
    axis: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole parameter."""
        return tuple(size * (self.count if axis == self.axis else 1) for axis, size in enumerate(self.part.shape))

    @property
    def ndim(self) -> int:
        """Axes of the whole parameter."""
        return self.part.ndim


def is_shard(node: Any) -> bool:
    """Whether a node of a tree is a `Shard`."""
    return isinstance(node, Shard)


def has_shards(tree: PyTree) -> bool:
    """Whether any parameter in `tree` is a `Shard`."""
    return any(map(is_shard, jax.tree.leaves(tree, is_leaf=is_shard)))


def whole(tree: T, but: type | tuple[type, ...] = ()) -> T:
    """The same tree with each `Shard` gathered; parts that are instances of `but` are left to gather themselves."""
    if not has_shards(tree):
        return tree

    def gathered(node: Any) -> Any:
        return _gathered(node.part, node.axis, node.dtype) if is_shard(node) else node

    found: T = jax.tree.map(gathered, tree, is_leaf=lambda node: is_shard(node) or isinstance(node, but))
    return found


def tied(params: T, item: PyTree) -> T:
    """Parameters of a turn of a loop: their parts are gathered in that turn, and not before the loop for all turns.

    Args:
        item: what only that turn has.
    """
    return jax.lax.optimization_barrier((params, item))[0] if has_shards(params) else params


@jax.custom_vjp
def scattered(layer: T, x: Any) -> tuple[T, Any]:
    """A layer and its input; in the backward pass the layer's gradients are cut before the layer before it begins."""
    return layer, x


scattered.defvjp(lambda layer, x: ((layer, x), None), lambda _, slopes: jax.lax.optimization_barrier(slopes))


def keep_but_gathered(primitive: Any, *_: Any, **parameters: Any) -> bool:
    """A policy of `jax.checkpoint`: results of products, sums and kernels are kept, gathered parameters are not."""
    if primitive.name == "custom_vjp_call":
        # JAX asks about the call as a whole before it differentiates it.
        inner = parameters["call_jaxpr"].eqns
        return not any(each.primitive.name == "all_gather" for each in inner)
    return primitive.name not in _AGAIN


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(part: Array, axis: int, dtype: Any) -> Array:
    # Back to its own dtype, which costs nothing: the layer's cast to `dtype` undoes it. Gradients then have it too.
    return jax.lax.all_gather(part.astype(dtype), AXIS, axis=axis, tiled=True).astype(part.dtype)


def _forward(part: Array, axis: int, dtype: Any) -> tuple[Array, None]:
    return _gathered(part, axis, dtype), None


def _backward(axis: int, dtype: Any, _: None, slope: Array) -> tuple[Array]:
    summed = jax.lax.psum_scatter(slope.astype(jnp.float32), AXIS, scatter_dimension=axis, tiled=True)
    return (summed.astype(slope.dtype),)


_gathered.defvjp(_forward, _backward)


def shards(params: PyTree, axes: PyTree, count: int, dtype_of: Callable[[Any, Any], Any]) -> PyTree:
    """Parameters inside `jax.shard_map` with each that is cut as a `Shard`.

    Args:
        params: this device's parts.
        axes: of the same structure, the axis that is cut, or -1.
        count: parts there are.
        dtype_of: (path, leaf) -> the dtype in which it is gathered.
    """

    def one(path: Any, leaf: Array, axis: int) -> Any:
        return leaf if axis < 0 else Shard(leaf, axis, count, dtype_of(path, leaf))

    return jax.tree_util.tree_map_with_path(one, params, axes)
