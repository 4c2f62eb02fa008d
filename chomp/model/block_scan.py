"""States of the moving average between blocks: one step, and all steps of a row by an associative scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def if_it_goes_on(state: Array, goes_on: Bool[Array, " batch"] | None) -> Array:
    """States `[D, B, 2 N]` where no document begins in a block, else 0; even of a NaN."""
    return state if goes_on is None else jnp.where(goes_on[None, :, None], state, 0.0)


def turned(state: Float[Array, "dim batch states"], real: Array, imag: Array) -> Array:
    """A complex product of states with `[D, N]` factors."""
    h_real, h_imag = jnp.split(state, 2, -1)
    real, imag = real[:, None], imag[:, None]
    return jnp.concatenate([h_real * real - h_imag * imag, h_real * imag + h_imag * real], -1)


def states_between_blocks(
    left: Array, decay: Array, start: Array, ends: Int[Array, "batch blocks"] | None, *, reverse: bool = False
) -> tuple[Array, Array]:
    """What is carried into each block, `[D, B, n, 2 N]`, and out of the last one, by an associative scan over blocks.

    Args:
        left: `[D, B, n, 2 N]` what each block adds to what it is passed.
        decay: `[2, D, N]` of what it is passed.
        start: what is carried into the first.
        ends: how many documents begin in each block; None for one continuous row.
        reverse: from the last block to the first.
    """
    real, imag = jnp.split(jnp.moveaxis(left, 2, 0), 2, -1)
    factors = [jnp.broadcast_to(part[None, :, None], real.shape) for part in decay]
    goes_on = jnp.ones((real.shape[0], 1, 1, 1), bool) if ends is None else (ends == 0).T[:, None, :, None]
    first = -1 if reverse else 0
    begin = if_it_goes_on(turned(start, *decay), None if ends is None else (ends[:, first] == 0))
    real, imag = (part.at[first].add(more) for part, more in zip((real, imag), jnp.split(begin, 2, -1), strict=True))
    *_, real, imag = jax.lax.associative_scan(_one_after_another, (goes_on, *factors, real, imag), reverse=reverse)
    after = jnp.concatenate([real, imag], -1)
    carried = [after[1:], start[None]] if reverse else [start[None], after[:-1]]
    return jnp.moveaxis(jnp.concatenate(carried), 0, 2), after[-1 - first]


def _one_after_another(first: tuple[Array, ...], then: tuple[Array, ...]) -> tuple[Array, ...]:
    """Two maps h -> a h + b in a row, each as whether h counts, and the real and imaginary parts of a and of b."""
    is_open, a_real, a_imag, b_real, b_imag = first
    goes_on, c_real, c_imag, d_real, d_imag = then
    return (
        is_open & goes_on,
        a_real * c_real - a_imag * c_imag,
        a_real * c_imag + a_imag * c_real,
        jnp.where(goes_on, c_real * b_real - c_imag * b_imag, 0.0) + d_real,
        jnp.where(goes_on, c_real * b_imag + c_imag * b_real, 0.0) + d_imag,
    )
