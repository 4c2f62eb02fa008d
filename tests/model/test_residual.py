"""Several residual streams: what mixes them, and that they are the maths of the papers around the same layers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.model.base import ModelInputs
from chomp.model.build import build_model
from chomp.model.flops import mean_attention_span
from chomp.model.llama import LlamaModel
from chomp.model.paths import named_leaves
from chomp.model.residual import HyperConnection
from chomp.train.footprint import activation_bytes
from tests.model.tiny import SEQ, VOCAB, logits_of, model_config, packed_batch, parts, tiny_config

STREAMS = pytest.mark.parametrize("streams", [2, 3, 4])


def drawn(seed: int, streams: int, scale: float = 3.0) -> HyperConnection:
    """One whose numbers are anything."""
    leaves, structure = jax.tree.flatten(HyperConnection(streams, 0))
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [jnp.asarray(scale * rng.normal(size=x.shape), jnp.float32) for x in leaves])


def model(streams: int, *, seed: int | None = None, **changes: Any) -> LlamaModel:
    """A tiny Llama; with `seed` its connections' numbers are drawn, so that no stream is another's copy."""
    model_def = build_model(model_config("llama", residual_streams=streams, **changes))
    made = model_def.combine(model_def.init(jax.random.key(3)))
    assert isinstance(made, LlamaModel)
    if seed is None:
        return made
    kept = lambda x: isinstance(x, HyperConnection)  # noqa: E731
    return jax.tree.map(lambda x: drawn(seed, streams, 1.0) if kept(x) else x, made, is_leaf=kept)


@settings(deadline=None, max_examples=25)
@given(streams=st.integers(2, 4), seeds=st.lists(st.integers(0, 999), min_size=1, max_size=12), scale=st.floats(0, 40))
def test_any_number_of_mixings_keeps_sums_and_makes_nothing_larger(
    streams: int, seeds: list[int], scale: float
) -> None:
    product = np.eye(streams)
    for seed in seeds:
        mixing = np.asarray(drawn(seed, streams, scale).mixing, np.float64)
        assert mixing.min() >= 0.0
        np.testing.assert_allclose([*mixing.sum(0), *mixing.sum(1)], 1.0, rtol=0, atol=1e-6)
        product = mixing @ product
    assert np.linalg.norm(product, 2) <= 1 + 1e-6 * len(seeds)


def test_two_streams_mix_by_one_number() -> None:
    mixing = eqx.tree_at(lambda c: c.alpha_logits, HyperConnection(2, 0), jnp.array([-0.4])).mixing
    a = 1 / (1 + np.exp(0.4))
    np.testing.assert_allclose(mixing, [[a, 1 - a], [1 - a, a]], rtol=1e-6)


@STREAMS
def test_the_streams_are_mixed_and_what_was_found_is_added_behind_that(streams: int) -> None:
    made, rng = drawn(1, streams), np.random.default_rng(0)
    x = rng.normal(size=(streams, 2, 5, 8))
    h = 1 / (1 + np.exp(-np.asarray(made.pre_logits + made.pre_bias, np.float64)))
    p = 2 / (1 + np.exp(-np.asarray(made.post_logits + made.post_bias, np.float64)))
    found = np.sin(np.einsum("i,ibtd->btd", h, x))
    expected = np.einsum("ij,jbtd->ibtd", np.asarray(made.mixing, np.float64), x) + p[:, None, None, None] * found
    np.testing.assert_allclose(made(jnp.asarray(x, jnp.float32), jnp.sin), expected, rtol=0, atol=2e-5)


def test_each_layer_begins_with_a_stream_of_its_own() -> None:
    for place in range(6):
        made = HyperConnection(4, place)
        assert int(jnp.argmax(made.read)) == int(jnp.argmax(made.write)) == place % 4
        np.testing.assert_allclose(jnp.diagonal(made.mixing), 0.9 + 0.1 * 5 / 23, rtol=1e-5)


@STREAMS
def test_streams_that_stay_equal_are_one(streams: int) -> None:
    """What each layer reads adds up to one stream, and it writes to each as to one: whatever mixes them."""

    def even(x: Any) -> Any:
        if not isinstance(x, HyperConnection):
            return x
        share = jnp.full(streams, -jnp.log(streams - 1.0))
        found = (x.alpha_logits + 0.7, jnp.zeros(streams), share, jnp.zeros(streams), jnp.zeros(streams))
        return eqx.tree_at(lambda c: (c.alpha_logits, c.pre_logits, c.pre_bias, c.post_logits, c.post_bias), x, found)

    several = jax.tree.map(even, model(streams), is_leaf=lambda x: isinstance(x, HyperConnection))
    ids, segments = packed_batch(4).input_ids[0], packed_batch(4).segment_ids[0]
    np.testing.assert_allclose(logits_of(several, ids, segments), logits_of(model(1), ids, segments), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("streams", "window", "prompted"), [(2, None, 5), (4, 6, 11)])
def test_cached_decoding_equals_a_full_forward(streams: int, window: int | None, prompted: int) -> None:
    made, total = model(streams, seed=5, attention_window=window), 20
    ids = jnp.asarray(np.random.default_rng(1).integers(3, VOCAB, (2, total)), jnp.int32)
    full = logits_of(made, ids)
    logits, memory = jax.jit(lambda model, ids: model.prefill(ids, total))(made, ids[:, :prompted])
    steps = [logits]
    advance = jax.jit(lambda model, memory, ids: model.advance(memory, ids))
    for position in range(prompted, total):
        logits, memory = advance(made, memory, ids[:, position])
        steps.append(logits)
    np.testing.assert_allclose(jnp.stack(steps, axis=1), full[:, prompted - 1 :], rtol=0, atol=1e-5)


def test_a_document_does_not_see_the_one_before_it() -> None:
    made, ids = model(2, seed=5), np.random.default_rng(2).integers(3, VOCAB, (1, 12)).astype(np.int32)
    segments = np.array([[1] * 5 + [2] * 7], np.int32)
    together = logits_of(made, ids, segments)
    np.testing.assert_allclose(together[:, 5:], logits_of(made, ids[:, 5:]), rtol=0, atol=2e-6)


def gradients(streams: int, **changes: Any) -> dict[str, np.ndarray]:
    batch = packed_batch(2)
    rows = [jnp.asarray(part[0]) for part in (batch.input_ids, batch.labels, batch.segment_ids)]
    made = model(streams, **changes)
    found = jax.jit(jax.grad(lambda m: m.loss_sum(ModelInputs(*rows), key=jax.random.key(5))[0]))(made)
    return {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(found)}


@STREAMS
def test_every_number_learns(streams: int) -> None:
    """But the first layer's choice among equal streams and its mixing of them, and the mixing before the mean."""
    found = gradients(streams)
    assert all(np.isfinite(leaf).all() for leaf in found.values())
    idle = ("0.attn_residual.pre", "0.attn_residual.alpha", "1.ffn_residual.alpha")
    for path, leaf in found.items():
        if "_residual." in path and not any(name in path for name in idle):
            assert np.abs(leaf).min() > 0, path
    np.testing.assert_allclose(found["blocks.1.ffn_residual.alpha_logits"], 0.0, atol=1e-5)
    write = found["blocks.0.attn_residual.post_bias"]
    assert np.abs(write).min() > 0
    assert np.ptp(write) > 0


@pytest.mark.parametrize("changes", [{"use_checkpoint": True, "dropout": 0.2}, {"loss_chunk_size": 7, "dropout": 0.2}])
def test_neither_recomputing_nor_a_head_in_chunks_changes_a_gradient(changes: dict[str, Any]) -> None:
    plain = gradients(2, seed=5, dropout=0.2)
    # The first layer mixes equal streams: that gradient is 0 but for rounding, and has no size to measure by.
    rounding = 1e-7 * max(np.abs(leaf).max() for leaf in plain.values())
    for path, leaf in gradients(2, seed=5, **changes).items():
        allowed = max(rounding, 2e-5 * np.abs(plain[path]).max())
        np.testing.assert_allclose(leaf, plain[path], rtol=0, atol=allowed, err_msg=path)


# What they cost ------------------------------------------------------------------------


@pytest.mark.parametrize(("streams", "numbers"), [(2, 9), (3, 18), (4, 40)])
def test_parameters_are_few_and_in_full_precision(streams: int, numbers: int) -> None:
    made = build_model(model_config("llama", residual_streams=streams, param_dtype="bfloat16"))
    counted = made.parameter_breakdown()
    assert counted.pop("residual_streams") == 2 * 2 * numbers
    assert counted.pop("total") - 4 * numbers == sum(counted.values())
    kinds = {path: leaf.dtype for path, leaf in named_leaves(made.abstract())}
    assert all((kind == jnp.float32) == ("_residual." in path) for path, kind in kinds.items())


def test_one_stream_has_no_parameters() -> None:
    assert "residual_streams" not in build_model(model_config("llama")).parameter_breakdown()


@pytest.mark.parametrize("name", ["muon", "lion", "adamw"])
def test_no_number_decays_or_goes_to_muon(name: str) -> None:
    config = tiny_config("llama", model={"residual_streams": 4}, optim={"name": name, "muon": {"allow_all_2d": True}})
    given = [one for one in parts(config)[1].assigned if "_residual." in one.path]
    assert len(given) == 2 * 2 * 5
    assert not any(one.decays or one.group == "muon" for one in given)


def test_operations_count_reading_mixing_and_writing() -> None:
    per_layer = 2 * 32 * (2 + 4 + 2)
    assert mean_attention_span(SEQ, SEQ) == (SEQ + 1) / 2
    assert model(2).forward_flops_per_token(SEQ) - model(1).forward_flops_per_token(SEQ) == 4 * per_layer


@pytest.mark.parametrize("recompute", [True, False])
def test_the_estimate_of_activations_knows_the_streams(recompute: bool) -> None:
    """A block that is computed again keeps what came in, once for each stream."""
    found = []
    for streams in (1, 4):
        config = tiny_config("llama", model={"residual_streams": streams, "use_checkpoint": recompute})
        found.append(activation_bytes(parts(config)[0], config))
    one_stream = 2 * SEQ * 32 * 4
    blocks = 2
    assert found[1] - found[0] >= 3 * blocks * one_stream
