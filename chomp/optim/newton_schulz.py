"""Newton-Schulz iterations in fp32 as XLA compiles them well for CPUs.

optax iterates X <- c0 X + (c1 A + c2 A A) X with A = X X^T, on the transpose of a tall matrix. XLA for CPUs makes a
transposed copy of X for each product A. It computes the sums of all iterations before once more inside that copy, which
reads them column by column: at 2,048 x 768 the copies take longer than the products. Here each X is written once, and
a tall matrix is multiplied from the right, so that nothing is transposed.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from optax.contrib import scale_by_muon

# Of optax's `scale_by_muon`.
_LEAST_NORM = 1e-8


def normalised(x: Float[Array, "*lead rows columns"]) -> Float[Array, "*lead rows columns"]:
    """Divide matrices by their norms, so that no singular value is above 1.

    Behind the barrier the norm is summed in the same order, whatever has computed the matrix, and on whichever device.
    """
    x = jax.lax.optimization_barrier(x)
    return x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + _LEAST_NORM)


def orthogonalised(x: Float[Array, "*lead rows columns"], steps: int) -> Float[Array, "*lead rows columns"]:
    """Iterate matrices whose singular values are at most 1; the result is optax's but for rounding."""
    is_tall = x.shape[-2] > x.shape[-1]
    square = "...ji,...jk->...ik" if is_tall else "...ij,...kj->...ik"
    # Constants, and not from the optimizer's state: the compiler rounds otherwise where it does not know them.
    first, second, third = scale_by_muon().init(()).ns_coeffs.astype(x.dtype)

    def product(spec: str, a: Any, b: Any) -> Array:
        return jnp.einsum(spec, a, b, precision=jax.lax.Precision.HIGHEST)

    for _ in range(steps):
        # Behind the barrier is one array, which the compiler cannot take apart into what it was added up from.
        x = jax.lax.optimization_barrier(x)
        a = product(square, x, x)
        b = second * a + third * product("...ij,...jk->...ik", a, a)
        x = first * x + (product("...ij,...jk->...ik", x, b) if is_tall else product("...ij,...jk->...ik", b, x))
    return jax.lax.optimization_barrier(x)
