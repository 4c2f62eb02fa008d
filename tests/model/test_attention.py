"""Attention by halves of a chunk is the library's, and the definition in float64, wherever documents begin."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from megalodon_jax.layers.attention import ChunkedAttention

from chomp.model.attention import HalvedAttention
from chomp.model.build import build_model
from chomp.model.megalodon import computed_by_documents
from chomp.model.swap_layers import swap_layer
from tests.model.tiny import model_config

ROWS, HEADS, HEAD, VALUE = 2, 2, 4, 6
CHUNK = 32
# Of the largest number compared, in fp32 (measured 5e-7 and 9e-7): sums over the same keys in another order.
OUTPUT_ERROR, GRADIENT_ERROR = 2e-6, 5e-6


def attention(chunk: int = CHUNK, **options: Any) -> ChunkedAttention:
    return ChunkedAttention(HEADS, HEAD, VALUE, chunk, **options)


def inputs(length: int, dtype: Any = jnp.float32) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values."""
    rng = np.random.default_rng(length)
    return tuple(jnp.asarray(rng.normal(size=(ROWS, length, HEADS, width)), dtype) for width in (HEAD, HEAD, VALUE))  # type: ignore[return-value]


@eqx.filter_jit
def output_and_gradients(made: ChunkedAttention, parts: Any, segment_ids: Any) -> Any:
    def total(parts: Any) -> Any:
        out, cache, length = made(*parts, segment_ids=segment_ids)
        assert cache is None
        weights = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
        return (out.astype(jnp.float32) * weights).sum(), (out, length)

    (_, (out, length)), gradients = jax.value_and_grad(total, has_aux=True)(parts)
    return out, length, gradients


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert np.abs(one - other).max() <= tolerance * max(1e-3, np.abs(other).max())


def assert_same(segment_ids: np.ndarray | None, length: int, chunk: int = CHUNK, **own: bool) -> Any:
    made, parts = attention(chunk), inputs(length)
    given = None if segment_ids is None else jnp.asarray(segment_ids, jnp.int32)
    theirs = output_and_gradients(made, parts, given)
    found = []
    for by_heads in (False, True):
        ours = output_and_gradients(swap_layer(made, HalvedAttention, by_heads=by_heads, **own), parts, given)
        assert int(ours[1]) == int(theirs[1]) == length
        assert_close(ours[0], theirs[0], OUTPUT_ERROR)
        assert_close(ours[2], theirs[2], GRADIENT_ERROR)
        found.append(ours[0])
    return found


def defined(parts: Any, segment_ids: np.ndarray, chunk: int) -> np.ndarray:
    """Each query mixes the values of its chunk of its document up to itself; positions count from the chunk's start."""
    q, k, v = (np.asarray(part, np.float64) for part in parts)
    rates = 10_000.0 ** (-2.0 * np.arange(HEAD // 2) / HEAD)

    def turned(vector: np.ndarray, place: int) -> np.ndarray:
        pairs = (vector[::2] + 1j * vector[1::2]) * np.exp(1j * place * rates)
        return np.stack([pairs.real, pairs.imag], -1).reshape(-1)

    out = np.zeros_like(v)
    for row, ids in enumerate(segment_ids):
        begin = 0
        for t in range(len(ids)):
            begin = t if t == 0 or ids[t] != ids[t - 1] else begin
            first = begin + (t - begin) // chunk * chunk
            for head in range(HEADS if ids[t] > 0 else 0):
                query = turned(q[row, t, head], t - first)
                scores = np.array([query @ turned(k[row, s, head], s - first) for s in range(first, t + 1)])
                share = np.exp(scores - scores.max())
                out[row, t, head] = share / share.sum() @ v[row, first : t + 1, head]
    return out


def documents(length: int, share: float, seed: int = 0) -> np.ndarray:
    """Numbers of documents that begin at random."""
    begins = np.random.default_rng(seed).random((ROWS, length)) < share
    return np.cumsum(begins, 1) + 1


@pytest.mark.parametrize("length", [32, 65, 96])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_isolated_rows_are_the_library_s_and_the_definition(length: int, share: float) -> None:
    """No boundary, few, many, and one at every position; lengths beside and on the grid."""
    segment_ids = documents(length, share)
    expected = defined(inputs(length), segment_ids, CHUNK)
    for out in assert_same(segment_ids, length, halve_first=length != 96):
        np.testing.assert_allclose(out, expected, rtol=0, atol=OUTPUT_ERROR * np.abs(expected).max())


@pytest.mark.parametrize("halve_first", [True, False])
def test_isolated_rows_of_a_chunk_that_has_no_half(halve_first: bool) -> None:
    assert_same(documents(99, 0.05), 99, 33, halve_first=halve_first)


@pytest.mark.parametrize(("length", "chunk"), [(96, 32), (65, 33), (47, 512)])
def test_continuous_rows_are_the_library_s(length: int, chunk: int) -> None:
    assert_same(None, length, chunk)


@pytest.mark.parametrize("by_heads", [True, False])
def test_padding_is_zero_and_takes_no_gradient(by_heads: bool) -> None:
    segment_ids = np.zeros((ROWS, 96), int)
    segment_ids[0, :40], segment_ids[0, 50:70] = 1, 2
    made, parts = swap_layer(attention(), HalvedAttention, by_heads=by_heads), inputs(96)
    out, _, gradients = output_and_gradients(made, parts, jnp.asarray(segment_ids, jnp.int32))
    assert_same(segment_ids, 96)
    for part in (out, *gradients):
        assert not np.asarray(part)[segment_ids == 0].any()
        assert np.isfinite(part).all()
        assert np.asarray(part)[segment_ids > 0].any()


def test_an_id_used_again_is_another_document() -> None:
    segment_ids = np.repeat([[1, 2, 1, 3]], 24, axis=1).repeat(ROWS, 0)
    assert_same(segment_ids, 96)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=96, max_size=96),
    st.lists(st.integers(1, 40), min_size=1, max_size=96),
)
def test_any_boundaries(numbers: list[int], lengths: list[int]) -> None:
    """Shapes are few, so that a new example is no new compilation."""
    ids = np.repeat(numbers, np.resize(lengths, len(numbers)))[:96]
    assert_same(np.stack([ids, ids[::-1]]), 96)


@pytest.mark.parametrize("by_heads", [True, False])
def test_a_nan_in_a_document_stays_there(by_heads: bool) -> None:
    segment_ids = np.repeat([[1, 2, 3]], 32, axis=1).repeat(ROWS, 0)
    q, k, v = inputs(96)
    out, _, _ = output_and_gradients(
        swap_layer(attention(), HalvedAttention, by_heads=by_heads),
        (q, k.at[:, 40].set(jnp.nan), v),
        jnp.asarray(segment_ids, jnp.int32),
    )
    nan = np.isnan(np.asarray(out)).any((0, 2, 3))
    assert nan[40:64].all()
    assert not nan[:32].any()


def test_bf16_is_as_near_as_the_library_s() -> None:
    segment_ids = documents(96, 0.03)
    parts, made = inputs(96, jnp.bfloat16), attention()
    ours, theirs = (
        output_and_gradients(one, parts, jnp.asarray(segment_ids, jnp.int32))[0]
        for one in (swap_layer(made, HalvedAttention), made)
    )
    assert ours.dtype == theirs.dtype == jnp.bfloat16
    exact = defined(parts, segment_ids, CHUNK)
    errors = [np.abs(np.asarray(one, np.float64) - exact).max() for one in (ours, theirs)]
    assert errors[0] <= 1.5 * errors[1]
    assert errors[0] < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("options", [{"attention_window": 8}, {"attention_dropout": 0.5}])
def test_what_is_left_to_the_library_is_exactly_its_own(options: dict[str, Any]) -> None:
    made, parts = attention(**options), inputs(100)
    segment_ids = jnp.asarray(documents(100, 0.05), jnp.int32)
    call = {"segment_ids": segment_ids, "deterministic": False, "key": jax.random.key(0)}
    np.testing.assert_array_equal(swap_layer(made, HalvedAttention)(*parts, **call)[0], made(*parts, **call)[0])


def test_sampling_and_masks_are_the_library_s() -> None:
    made, parts = attention(), inputs(70)
    ours = swap_layer(made, HalvedAttention)
    (out, cache, _), (their_out, their_cache, _) = ours(*parts, return_cache=True), made(*parts, return_cache=True)
    np.testing.assert_array_equal(out, their_out)
    np.testing.assert_array_equal(cache.k, their_cache.k)
    mask = jnp.ones((ROWS, 70), bool).at[:, 60:].set(False)
    np.testing.assert_array_equal(ours(*parts, mask=mask)[0], made(*parts, mask=mask)[0])
    with pytest.raises(ValueError, match="expected 2 heads, got 1"):
        ours(*(part[:, :, :1] for part in parts))


@pytest.mark.parametrize(("cema", "own"), [("auto", True), ("blockwise", True), ("sequential", False)])
def test_a_model_s_attention_is_put_in_place_by_its_setting(cema: str, own: bool) -> None:
    model_def = build_model(model_config(cema=cema))
    model = model_def.combine(model_def.abstract())
    assert (type(model.network.model.layers[0].attn.inner) is HalvedAttention) is own


def test_parameters_keep_the_library_s_modules() -> None:
    model_def = build_model(model_config())
    params = model_def.abstract()
    assert type(params.model.layers[0].attn.inner) is ChunkedAttention
    assert jax.tree.leaves(computed_by_documents(params)) == jax.tree.leaves(params)
