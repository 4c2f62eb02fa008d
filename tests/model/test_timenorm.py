"""Timestep normalisation by sums is the library's by a scan, and the definition in float64."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from megalodon_jax.layers.segments import derive_segment_metadata
from megalodon_jax.layers.timestep_norm import TimestepNorm

from chomp.model.build import build_model
from chomp.model.swap_layers import swap_layer
from chomp.model.timenorm import DocumentNorm, sums_so_far
from tests.model.tiny import model_config

ROWS, DIM, GROUPS = 2, 12, 4
# Of the largest number compared, in fp32; measured 4e-7 and 1.1e-5. The gradient is a difference of sums about the
# first token, as on the library's path for continuous rows; its scan over documents has 1.1e-6 there.
OUTPUT_ERROR, GRADIENT_ERROR = 2e-6, 3e-5


def norm(**options: Any) -> TimestepNorm:
    rng = np.random.default_rng(2)
    made = TimestepNorm(DIM, GROUPS, **options)
    weight, bias = (jnp.asarray(rng.normal(size=DIM), jnp.float32) for _ in range(2))
    return eqx.tree_at(lambda m: (m.weight, m.bias), made, (weight, bias))


def inputs(length: int, centre: float = 5.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(length).normal(centre, 3.0, (ROWS, length, DIM)), jnp.float32)


def defined(made: TimestepNorm, x: jax.Array, segment_ids: np.ndarray) -> np.ndarray:
    """Each position by mean and variance of all its group's numbers in its document so far, in float64."""
    values = np.asarray(x, np.float64).reshape(*x.shape[:2], GROUPS, -1)
    y = np.zeros_like(values)
    for row, ids in enumerate(segment_ids):
        begin = 0
        for t in range(len(ids)):
            begin = t if t == 0 or ids[t] != ids[t - 1] else begin
            if ids[t] > 0:
                seen = values[row, begin : t + 1]
                mean, variance = seen.mean((0, 2)), seen.var((0, 2))
                # The mean of the positions' own variances and of their means' spread is the variance of all.
                y[row, t] = (values[row, t] - mean[:, None]) / np.sqrt(variance + made.eps)[:, None]
    flat = y.reshape(x.shape) * (np.asarray(made.weight) + 1.0) + np.asarray(made.bias)
    return np.where(segment_ids[..., None] > 0, flat, 0.0)


@eqx.filter_jit
def outputs_states_gradients(made: TimestepNorm, x: jax.Array, segment_ids: jax.Array) -> Any:
    weights = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

    def total(parts: tuple[TimestepNorm, jax.Array]) -> Any:
        y, state = parts[0](parts[1], segment_ids=segment_ids)
        return (y * weights).sum(), (y, state)

    (_, found), gradients = eqx.filter_value_and_grad(total, has_aux=True)((made, x))
    return *found, gradients


def assert_close(ours: Any, theirs: Any, tolerance: float = OUTPUT_ERROR) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert np.abs(one - other).max() <= tolerance * max(1.0, np.abs(other).max())


def assert_same(segment_ids: np.ndarray) -> None:
    x, made = inputs(segment_ids.shape[1]), norm()
    theirs = outputs_states_gradients(made, x, jnp.asarray(segment_ids))
    for by_channels in (False, True):
        own = swap_layer(made, DocumentNorm, by_channels=by_channels)
        ours = outputs_states_gradients(own, x, jnp.asarray(segment_ids))
        assert_close(ours[:2], theirs[:2])
        assert_close(jax.tree.leaves(ours[2]), jax.tree.leaves(theirs[2]), GRADIENT_ERROR)
        assert_close(ours[0], defined(made, x, segment_ids))


@pytest.mark.parametrize("length", [1, 64, 200])
def test_documents_of_usual_length(length: int) -> None:
    rng = np.random.default_rng(length)
    segment_ids = np.cumsum(rng.random((ROWS, length)) < 0.08, 1) + 1
    segment_ids[0, length // 2 + 1 :] = 0
    assert_same(segment_ids.astype(np.int32))


@pytest.mark.compile
@settings(max_examples=25, deadline=None)
@given(data=st.data(), length=st.sampled_from([70]))
def test_any_documents_and_padding(data: st.DataObject, length: int) -> None:
    ids = st.lists(st.integers(0, 2), min_size=length, max_size=length)
    assert_same(np.array([data.draw(ids) for _ in range(ROWS)], np.int32))


def test_sums_are_those_of_each_run() -> None:
    """Whole numbers, so that every order of addition gives the same; runs across many blocks and inside one."""
    rng = np.random.default_rng(1)
    values = rng.integers(-9, 9, (ROWS, 300, 3)).astype(np.float32)
    starts = np.zeros((ROWS, 300), bool)
    starts[0, [1, 2, 64, 70, 71, 250]] = True
    runs = np.cumsum(starts, 1) + 1
    wanted = np.zeros_like(values)
    for row, t in np.ndindex(runs.shape):
        wanted[row, t] = values[row, : t + 1][runs[row, : t + 1] == runs[row, t]].sum(0)
    np.testing.assert_array_equal(sums_so_far(jnp.asarray(values), jnp.asarray(runs)), wanted)


def test_far_from_zero_no_digits_are_lost() -> None:
    """A mean of 1,000 spreads: sums of plain squares would leave two digits of the variance."""
    x, made = inputs(70, centre=3000.0), norm()
    segment_ids = np.repeat([[1] * 30 + [2] * 40], ROWS, 0).astype(np.int32)
    y, _ = swap_layer(made, DocumentNorm)(x, segment_ids=jnp.asarray(segment_ids))
    assert np.abs(y - defined(made, x, segment_ids)).max() < 2e-3


@eqx.filter_jit
def compiled(module: Any, x: Any, options: dict[str, Any]) -> Any:
    return module(x, **options)


@pytest.mark.parametrize("case", ["continuous", "mask", "prior", "bf16"])
def test_what_is_left_to_the_library(case: str) -> None:
    made = norm(prior_count=4) if case == "prior" else norm()
    x = inputs(40).astype(jnp.bfloat16 if case == "bf16" else jnp.float32)
    options: dict[str, Any] = {}
    if case != "continuous":
        options["segment_ids"] = jnp.asarray(np.repeat([[1] * 15 + [2] * 25], ROWS, 0))
    if case == "mask":
        options["mask"] = jnp.asarray(np.random.default_rng(0).random((ROWS, 40)) < 0.9)
    ours, theirs = (compiled(module, x, options) for module in (swap_layer(made, DocumentNorm), made))
    assert ours[0].dtype == theirs[0].dtype == x.dtype
    tolerance = 2**-7 if case == "bf16" else 0.0
    np.testing.assert_allclose(
        np.asarray(ours[0], np.float32), np.asarray(theirs[0], np.float32), rtol=tolerance, atol=tolerance
    )


def test_the_same_errors_as_the_library() -> None:
    made = swap_layer(norm(), DocumentNorm)
    with pytest.raises(ValueError, match="expected 12 features"):
        made(jnp.zeros((ROWS, 4, 8)), segment_ids=jnp.ones((ROWS, 4), jnp.int32))
    with pytest.raises(TypeError, match="float32 and bfloat16"):
        made(jnp.zeros((ROWS, 4, DIM), jnp.float16), segment_ids=jnp.ones((ROWS, 4), jnp.int32))


def test_metadata_of_the_model_is_used() -> None:
    segment_ids = jnp.asarray(np.repeat([[1] * 15 + [2] * 25], ROWS, 0))
    x, made = inputs(40), swap_layer(norm(), DocumentNorm)
    given_metadata, _ = made(x, segment_ids=segment_ids, _segment_metadata=derive_segment_metadata(segment_ids))
    np.testing.assert_array_equal(given_metadata, made(x, segment_ids=segment_ids)[0])


def test_a_model_is_normalised_by_sums_only_on_chomp_s_own_paths() -> None:
    for cema, kind in (("auto", DocumentNorm), ("sequential", TimestepNorm)):
        model_def = build_model(model_config(cema=cema))
        model = model_def.combine(model_def.init(jax.random.key(0)))
        leaves = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, TimestepNorm))
        assert {type(leaf) for leaf in leaves if isinstance(leaf, TimestepNorm)} == {kind}
