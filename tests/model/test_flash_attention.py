"""The flash kernel, step by step on this machine, and attention by blocks, against XLA's attention with a mask."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from megalodon_jax.layers.segments import segment_runs_and_local_positions

from chomp.config import Config
from chomp.model.base import ModelInputs
from chomp.model.blockwise_attention import UNLOOPED, blockwise_attention
from chomp.model.build import ModelDef, build_model
from chomp.model.flash_attention import flash_attention
from chomp.model.llama_block import attention_implementation
from chomp.train.footprint import activation_bytes
from tests.model.tiny import model_config, packed_batch, tiny_config

HEADS, KV_HEADS, WIDTH = 4, 2, 24


def drawn(length: int, dtype: str, kv_heads: int) -> tuple[jax.Array, ...]:
    """Queries, keys, values, and what their results are weighted with."""
    rng = np.random.default_rng(length)
    return tuple(
        jnp.asarray(rng.normal(size=(2, length, heads, WIDTH)), dtype) for heads in (HEADS, kv_heads, kv_heads, HEADS)
    )


def runs_of(length: int) -> jax.Array:
    """Documents whose ids come again, and padding at the end."""
    segments = packed_batch(3, seq=length).segment_ids[0]
    return segment_runs_and_local_positions(jnp.asarray(np.where(segments > 2, 1, segments)))[0]


def exact(
    query: jax.Array, key: jax.Array, value: jax.Array, runs: jax.Array | None, window: int | None = None
) -> jax.Array:
    mask = None if runs is None else runs[:, None, :, None] == runs[:, None, None, :]
    return jax.nn.dot_product_attention(
        query, key, value, mask=mask, is_causal=True, implementation="xla",
        local_window_size=None if window is None else (window - 1, 0),
    )  # fmt: skip


def flash(query: jax.Array, key: jax.Array, value: jax.Array, runs: jax.Array | None) -> jax.Array:
    return flash_attention(query, key, value, runs, interpret=True)


def blockwise(
    query: jax.Array, key: jax.Array, value: jax.Array, runs: jax.Array | None, window: int | None = None
) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(query.shape[1]), query.shape[:2])
    first = jnp.zeros_like(positions)
    if runs is not None:
        first = jax.vmap(lambda row: jnp.searchsorted(row, row))(runs)
    first = first if window is None else jnp.maximum(first, positions - window + 1)
    return blockwise_attention(query / WIDTH**0.5, key, value, first)


def with_gradients(attend: Any, arrays: tuple[jax.Array, ...], runs: jax.Array | None) -> list[np.ndarray]:
    """The result, and the gradients of queries, keys and values."""

    @jax.jit
    def both(query: jax.Array, key: jax.Array, value: jax.Array, slopes: jax.Array) -> Any:
        mixed, back = jax.vjp(lambda *inputs: attend(*inputs, runs), query, key, value)
        return mixed, *back(slopes)

    return [np.asarray(one, np.float32) for one in both(*arrays)]


def distances(found: list[np.ndarray], expected: list[np.ndarray]) -> list[float]:
    return [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, expected, strict=True)]


# One block, several with an odd length, and whole blocks.
@pytest.mark.parametrize(
    ("length", "kv_heads", "documents"), [(24, HEADS, True), (201, KV_HEADS, True), (256, 1, False)]
)
def test_results_and_gradients_are_xla_s(length: int, kv_heads: int, documents: bool) -> None:
    runs = runs_of(length) if documents else None
    arrays = drawn(length, "float32", kv_heads)
    assert max(distances(with_gradients(flash, arrays, runs), with_gradients(exact, arrays, runs))) < 1e-6


# Without loops: one part, and two of odd lengths with a window. Loops over blocks of odd lengths, and a window whose
# first key is inside a block.
@pytest.mark.parametrize(
    ("length", "kv_heads", "documents", "window"),
    [
        (14, HEADS, True, None),
        (UNLOOPED - 3, KV_HEADS, True, 20),
        (UNLOOPED, 1, False, None),
        (301, KV_HEADS, True, None),
        (301, 1, False, 140),
        (384, KV_HEADS, True, 20),
    ],
)
def test_blocks_compute_what_xla_does(length: int, kv_heads: int, documents: bool, window: int | None) -> None:
    runs = runs_of(length) if documents else None
    arrays = drawn(length, "float32", kv_heads)
    ours, theirs = (with_gradients(partial(one, window=window), arrays, runs) for one in (blockwise, exact))
    assert max(distances(ours, theirs)) < 1e-6


@pytest.mark.parametrize("length", [20, 300])
def test_a_query_that_sees_nothing_gets_nothing_and_passes_nothing_on(length: int) -> None:
    """As the padding of a Megalodon's row does."""
    query, key, value, slopes = drawn(length, "float32", HEADS)
    first = jnp.broadcast_to(jnp.where(jnp.arange(length) < length - 5, 0, 2 * length), (2, length))
    mixed, back = jax.vjp(lambda *arrays: blockwise_attention(*arrays, first), query, key, value)
    assert not mixed[:, -5:].any()
    gradients = back(slopes)
    assert not any(one[:, -5:].any() for one in gradients)
    assert all(jnp.isfinite(one).all() and one.any() for one in gradients)


def test_bf16_is_as_near_to_fp32_as_xla_s() -> None:
    """Gradients of scores, and one sum of the backward pass, are bf16 in the kernel and fp32 in XLA's."""
    arrays, runs = drawn(150, "bfloat16", KV_HEADS), runs_of(150)
    wide = with_gradients(exact, tuple(part.astype(jnp.float32) for part in arrays), runs)
    *ours, theirs = (distances(with_gradients(one, arrays, runs), wide) for one in (flash, blockwise, exact))
    assert np.all(np.asarray(ours) < 2 * np.asarray(theirs)), (ours, theirs)
    assert max(theirs) < 5e-3


@pytest.mark.parametrize("kind", [flash, blockwise])
def test_no_document_sees_another_or_what_comes_later(kind: Any) -> None:
    query, key, value, _ = drawn(70, "float32", KV_HEADS)
    runs = jnp.asarray(np.repeat([[1, 2, 3]], [20, 30, 20], axis=1).repeat(2, axis=0), jnp.int32)
    outside = jnp.asarray((np.arange(70) < 20) | (np.arange(70) >= 40))[None, :, None, None]
    compiled = jax.jit(kind)
    first = compiled(query, key, value, runs)
    second = compiled(query, jnp.where(outside, key + 7, key), jnp.where(outside, value - 5, value), runs)
    np.testing.assert_array_equal(first[:, 20:40], second[:, 20:40])
    assert float(jnp.abs(first - second)[:, 40:50].max()) > 0.1


def llama(attention: str, **sections: Any) -> tuple[Config, ModelDef]:
    """Of one layer, whose heads have 16 channels, the least that the kernel takes."""
    model = {"attention": attention, "num_heads": 2, "num_kv_heads": 1, "num_layers": 1}
    config = tiny_config("llama", model=model, **sections)
    return config, build_model(config.model)


def test_a_llama_computes_the_same_with_it_and_continues_text() -> None:
    batch = packed_batch(4)
    ids, segments = jnp.asarray(batch.input_ids[0]), jnp.asarray(batch.segment_ids[0])

    @partial(jax.jit, static_argnums=0)
    def logits(attention: str) -> Any:
        model = llama(attention)[1].make_params(jax.random.key(3))
        first, memory = model.prefill(ids[:, :7], 9)
        return model.logits(ids, segments), first, model.advance(memory, ids[:, 7])[0]

    for ours, theirs in zip(logits("flash"), logits("xla"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("attention", "squared"), [("blockwise", False), ("flash", False), ("xla", True)])
def test_no_array_has_the_length_squared(attention: str, squared: bool) -> None:
    """Forward and backward; 401 is padded to 512."""
    _, model_def = llama(attention)

    def loss(params: Any, ids: Any) -> Any:
        return model_def.combine(params).hidden_states(ModelInputs(ids, ids, ids)).sum()

    ids = jax.ShapeDtypeStruct((2, 401), jnp.int32)
    program = str(jax.make_jaxpr(jax.grad(loss))(model_def.abstract(), ids))
    assert any(f"{length},{length}]" in program for length in (401, 512)) is squared


@pytest.mark.parametrize(("attention", "linear"), [("flash", True), ("xla", False)])
def test_the_estimate_of_memory_counts_scores_only_where_they_are_kept(attention: str, linear: bool) -> None:
    short, long = (
        activation_bytes(model_def, config)
        for config, model_def in (llama(attention, train={"seq_len": length}) for length in (256, 512))
    )
    assert (long < 2.1 * short) is linear


@pytest.mark.parametrize(
    ("attention", "backend", "chosen"),
    [("auto", "cpu", "xla"), ("auto", "gpu", "cudnn"), ("flash", "gpu", "flash"), ("xla", "gpu", "xla")],
)
def test_the_setting_chooses_the_implementation(attention: str, backend: str, chosen: str) -> None:
    config = model_config("llama", attention=attention, compute_dtype="bfloat16")
    in_fp32 = config.model_copy(update={"compute_dtype": "float32"})
    assert attention_implementation(in_fp32, "cpu") == ("blockwise" if attention == "auto" else attention)
    assert attention_implementation(config, backend) == chosen
