"""The number formats that the configuration may name."""

import jax.numpy as jnp


def dtype_named(name: str) -> jnp.dtype:
    """Return JAX's dtype for a name the configuration schema allows (`float32`, `bfloat16`)."""
    return jnp.dtype(name)
