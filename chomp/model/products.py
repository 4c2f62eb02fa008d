"""Matrix products in the dtype of their operands with fp32 results, forward and backward.

JAX's own derivative of a bf16 product with an fp32 result multiplies fp32 gradients: two of the three products of a
training step then run at half the rate of a GPU's bf16 units, or less. Here the gradient is rounded to the operands'
dtype first, as attention kernels and other frameworks' automatic mixed precision do; sums stay fp32, and a weight's
gradient is fp32 whatever the product is computed in. In fp32 nothing differs from JAX's own.
"""

from __future__ import annotations

import functools

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
        return jnp.einsum(spec, a, b.astype(a.dtype), preferred_element_type=jnp.float32, precision=_precision(a))
    return _rounded_backward(spec, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_backward(spec: str, a: Array, b: Array) -> Array:
    return jnp.einsum(spec, a, b.astype(a.dtype), preferred_element_type=jnp.float32)


def _forward(spec: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rounded_backward(spec, a, b), (a, b)


def _backward(spec: str, saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = saved
    first, second, result = spec.replace("->", ",").split(",")
    slope = slope.astype(a.dtype)
    d_a = jnp.einsum(f"{result},{second}->{first}", slope, b.astype(a.dtype), precision=_precision(a))
    d_b = jnp.einsum(f"{result},{first}->{second}", slope, a, preferred_element_type=jnp.float32)
    return d_a.astype(a.dtype), d_b.astype(b.dtype)


_rounded_backward.defvjp(_forward, _backward)


def _precision(a: Array) -> jax.lax.Precision | jax.lax.DotAlgorithmPreset | None:
    """Full fp32 products of fp32 numbers; fp32 sums of bf16 ones."""
    if a.dtype == jnp.float32:
        return jax.lax.Precision.HIGHEST
    return jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if a.dtype == jnp.bfloat16 else None
