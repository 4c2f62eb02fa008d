"""A layer in fp32 as chomp computes it on CPUs is the library's layer, with the library's gradients."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from megalodon_jax.layers.attention import MegalodonAttention, NormalizedFFN

from chomp.model.megalodon_block import FeedForward, GatedAttention
from chomp.model.swap_layers import swap_layer

ROWS, LENGTH, DIM = 2, 40, 16
# Of the largest number compared, in fp32: the same sums in another order.
ERROR = 1e-5


def attention(**options: Any) -> MegalodonAttention:
    widths = {"model_dim": DIM, "z_dim": 8, "value_dim": 24, "num_heads": 2, "cema_ndim": 4}
    return MegalodonAttention(**widths, chunk_size=16, norm_num_groups=4, key=jax.random.key(0), **options)


def feed_forward(**options: Any) -> NormalizedFFN:
    return NormalizedFFN(DIM, 24, key=jax.random.key(1), **options)


@eqx.filter_jit
def output_and_gradients(layer: Any, x: jax.Array, options: dict[str, Any]) -> Any:
    def total(parts: tuple[Any, jax.Array]) -> Any:
        out = parts[0](parts[1], **options)
        out = out[0] if isinstance(out, tuple) else out
        return (out * jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)).sum(), out

    (_, out), gradients = eqx.filter_value_and_grad(total, has_aux=True)((layer, x))
    return out, gradients


def assert_same(made: Any, kind: Any, options: dict[str, Any], **own: bool) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, LENGTH, DIM)), jnp.float32)
    ours, theirs = (output_and_gradients(one, x, options) for one in (swap_layer(made, kind, **own), made))
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
    assert len(pairs) > 4
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert jnp.abs(one - other).max() <= ERROR * max(1e-3, jnp.abs(other).max())


@pytest.mark.parametrize("isolated", [True, False])
def test_attention_in_fp32_is_the_library_s(isolated: bool) -> None:
    segment_ids = jnp.asarray(np.repeat([[1] * 15 + [2] * 25], ROWS, 0)) if isolated else None
    assert_same(attention(), GatedAttention, {"segment_ids": segment_ids}, own_float32=True)


@pytest.mark.parametrize("options", [{}, {"swiglu": True, "rescale": True}])
@pytest.mark.parametrize("with_base", [True, False])
def test_the_feed_forward_layer_in_fp32_is_the_library_s(options: dict[str, bool], with_base: bool) -> None:
    base = jnp.ones((ROWS, LENGTH, DIM)) if with_base else None
    assert_same(feed_forward(**options), FeedForward, {"residual_base": base})


def test_dropout_is_left_to_the_library() -> None:
    made, x = feed_forward(dropout=0.5), jnp.ones((ROWS, LENGTH, DIM))
    call = {"deterministic": False, "key": jax.random.key(0)}
    np.testing.assert_array_equal(swap_layer(made, FeedForward)(x, **call), made(x, **call))
