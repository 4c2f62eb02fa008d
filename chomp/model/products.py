"""Matrix products in the dtype of their operands with fp32 results, forward and backward.

JAX's own derivative of a bf16 product with an fp32 result multiplies fp32 gradients: two of the three products of a
training step then run at half the rate of a GPU's bf16 units, or less. Here the gradient is rounded to the operands'
dtype first, as attention kernels and other frameworks' automatic mixed precision do; sums stay fp32, and a weight's
gradient is fp32 whatever the product is computed in. In fp32 nothing differs from JAX's own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def einsum_f32(spec: str, a: Array, b: Array) -> Array:
    """`jnp.einsum(spec, a, b)` in the dtype of `a`, with an fp32 result.

    Args:
        spec: two operands and a result, whose letters are each in two of the three, without ellipses.
        b: cast to the dtype of `a`; its gradient has its own.
    """
    if a.dtype == jnp.float32:
        return wide(spec, a, b)
    return _rounded_backward(spec, wide, a, b)


def projected(x: Array, weights: Sequence[Array], biases: Sequence[Array]) -> list[Array]:
    """`x @ weight.T + bias` of several layers in the dtype of `x` as one product; gradients of weights are fp32.

    The product is rounded before the bias is added. An fp32 result would stay in memory up to the backward pass, at
    twice the bytes, for half a unit in the last place less of error.

    Args:
        x: `[..., inputs]`.
        weights: `[outputs, inputs]` each.
        biases: `[outputs]` each.
    """
    weight, bias = jnp.concatenate(weights), jnp.concatenate(biases)
    # By token, so that no operand of a gradient is transposed.
    y = _rounded_backward("ni,oi->no", narrow, x.reshape(-1, x.shape[-1]), weight) + bias.astype(x.dtype)
    ends = list(itertools.accumulate(len(part) for part in biases))[:-1]
    return jnp.split(y.reshape(*x.shape[:-1], -1), ends, axis=-1)


def mapped(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias` in the dtype of `x`; the gradient of the weight is fp32.

    Tokens are one axis, as in `projected`: JAX's own gradient makes XLA for CPUs write some operands transposed.

    Args:
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`.
    """
    y = _rounded_backward("ni,oi->no", narrow, x.reshape(-1, x.shape[-1]), weight)
    y = y if bias is None else y + bias.astype(x.dtype)
    return y.reshape(*x.shape[:-1], -1)


def narrow(spec: str, a: Array, b: Array) -> Array:
    """A product with fp32 sums and a result in the dtype of the operands, which is that of `a`."""
    precision: Any = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    if a.dtype == jnp.bfloat16:
        precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32
    return jnp.einsum(spec, a, b.astype(a.dtype), precision=precision).astype(a.dtype)


def wide(spec: str, a: Array, b: Array) -> Array:
    """A product in the dtype of `a` with fp32 sums and an fp32 result; full precision of fp32 operands."""
    precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(spec, a, b.astype(a.dtype), preferred_element_type=jnp.float32, precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rounded_backward(spec: str, product: Callable[[str, Array, Array], Array], a: Array, b: Array) -> Array:
    return product(spec, a, b)


def _forward(
    spec: str, product: Callable[[str, Array, Array], Array], a: Array, b: Array
) -> tuple[Array, tuple[Array, Array]]:
    return product(spec, a, b), (a, b)


def _backward(spec: str, _product: object, saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = saved
    first, second, result = spec.replace("->", ",").split(",")
    slope = slope.astype(a.dtype)
    return narrow(f"{result},{second}->{first}", slope, b), wide(f"{result},{first}->{second}", slope, a).astype(
        b.dtype
    )


_rounded_backward.defvjp(_forward, _backward)
