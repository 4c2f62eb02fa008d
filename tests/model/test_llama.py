"""The Llama-style decoder against its maths written out in float64, and its own ways of computing the same thing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.config.model import ModelConfig
from chomp.config.presets import MODEL_PRESETS, expand_preset, preset_vocabulary
from chomp.model.base import ModelInputs
from chomp.model.build import build_model
from chomp.model.llama import LlamaModel
from chomp.model.llama_block import takes_fused_attention
from chomp.model.paths import named_leaves
from tests.model.tiny import VOCAB, logits_of, model_config, packed_batch

LLAMAS = sorted(name for name, shape in MODEL_PRESETS.items() if shape["backend"] == "llama")


def preset(name: str, vocab_size: int) -> ModelConfig:
    return ModelConfig.model_validate(expand_preset({"model": {"preset": name, "vocab_size": vocab_size}})["model"])


@functools.cache
def model(**changes: Any) -> LlamaModel:
    model_def = build_model(model_config("llama", **changes))
    return model_def.combine(model_def.init(jax.random.key(3)))


def prompt(length: int, rows: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(3, VOCAB, (rows, length)), jnp.int32)


# The maths -----------------------------------------------------------------------------


def reference_logits(model: LlamaModel, ids: np.ndarray, segments: np.ndarray | None, window: int | None) -> np.ndarray:
    """Logits of one row, position by position, in float64."""
    weights = {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(model)}
    blocks = len(model.blocks)
    heads, kv = model.blocks[0].attn.heads, model.blocks[0].attn.kv_heads
    width = weights["embed.weight"].shape[1] // heads
    begins = [t for t in range(len(ids)) if t == 0 or (segments is not None and segments[t] != segments[t - 1])]
    start = [max(b for b in begins if b <= t) for t in range(len(ids))]

    def normal(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + model.norm.eps) * weights[name]

    def turn(vector: np.ndarray, position: int) -> np.ndarray:
        pairs = vector[: width // 2] + 1j * vector[width // 2 :]
        pairs = pairs * np.exp(1j * position * model.rates.base ** (-2.0 * np.arange(width // 2) / width))
        return np.concatenate([pairs.real, pairs.imag])

    x = weights["embed.weight"][ids]
    for i in range(blocks):
        h = normal(x, f"blocks.{i}.attn_norm.weight")
        q, k, v = (h @ weights[f"blocks.{i}.attn.w{name}.weight"].T for name in "qkv")
        mixed = np.zeros_like(q)
        for t in range(len(ids)):
            first = start[t] if window is None else max(start[t], t - window + 1)
            seen = range(first, t + 1)
            for head in range(heads):
                shared = head // (heads // kv)
                query = turn(q[t, head * width : (head + 1) * width], t - start[t])
                keys = [turn(k[s, shared * width : (shared + 1) * width], s - start[t]) for s in seen]
                scores = np.array([query @ key for key in keys]) / np.sqrt(width)
                share = np.exp(scores - scores.max())
                values = v[list(seen), shared * width : (shared + 1) * width]
                mixed[t, head * width : (head + 1) * width] = share / share.sum() @ values
        x = x + mixed @ weights[f"blocks.{i}.attn.wo.weight"].T
        h = normal(x, f"blocks.{i}.ffn_norm.weight")
        gate, up = (h @ weights[f"blocks.{i}.ffn.{name}.weight"].T for name in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"blocks.{i}.ffn.down.weight"].T
    return normal(x, "norm.weight") @ weights.get("lm_head.weight", weights["embed.weight"]).T


@pytest.mark.parametrize(
    "changes",
    [{}, {"share_emb": True, "num_kv_heads": None}, {"attention_window": 5, "num_kv_heads": 1, "rope_base": 100.0}],
)
@pytest.mark.parametrize("isolate", [True, False])
def test_logits_are_those_of_the_maths(changes: dict[str, Any], isolate: bool) -> None:
    batch = packed_batch(4)
    ids, segments = batch.input_ids[0, 0], batch.segment_ids[0, 0]
    made = model(**changes)
    given = (jnp.asarray(ids[None]), jnp.asarray(segments[None])) if isolate else (jnp.asarray(ids[None]),)
    expected = reference_logits(made, ids, segments if isolate else None, changes.get("attention_window"))
    np.testing.assert_allclose(logits_of(made, *given)[0], expected, rtol=0, atol=2e-6)


def test_a_head_in_chunks_gives_the_same_losses_and_gradients() -> None:
    batch = packed_batch(2)
    inputs = ModelInputs(*(jnp.asarray(part[0]) for part in (batch.input_ids, batch.labels, batch.segment_ids)))
    results = []
    for chunk in (None, 7):
        model_def = build_model(model_config("llama", loss_chunk_size=chunk))
        params = model_def.init(jax.random.key(0))
        results.append(jax.jit(jax.value_and_grad(lambda p, m=model_def: m.combine(p).loss_sum(inputs)[0]))(params))
    (loss, grads), (chunked_loss, chunked_grads) = results
    np.testing.assert_allclose(chunked_loss, loss, rtol=1e-6)
    for one, other in zip(jax.tree.leaves(chunked_grads), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * float(jnp.abs(other).max()))


def test_recomputing_changes_no_gradient() -> None:
    """With dropout, whose draws must be the same when a block is computed again."""
    batch = packed_batch(2)
    inputs = ModelInputs(*(jnp.asarray(part[0]) for part in (batch.input_ids, batch.labels, batch.segment_ids)))
    results = []
    for recompute in (False, True):
        model_def = build_model(model_config("llama", use_checkpoint=recompute, dropout=0.2))
        params = model_def.init(jax.random.key(0))

        def loss(params: Any, model_def: Any = model_def) -> Any:
            return model_def.combine(params).loss_sum(inputs, key=jax.random.key(5))[0]

        results.append(jax.jit(jax.value_and_grad(loss))(params))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * float(jnp.abs(other).max()))


# Decoding ------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "prompted"), [(None, 5), (6, 4), (6, 6), (6, 11)])
def test_cached_decoding_equals_a_full_forward(window: int | None, prompted: int) -> None:
    """Through the ring's turn, with prompts shorter than it, as long as it, and longer."""
    made, total = model(attention_window=window), 20
    ids = prompt(total)
    full = logits_of(made, ids)
    logits, memory = jax.jit(lambda model, ids: model.prefill(ids, total))(made, ids[:, :prompted])
    steps = [logits]
    advance = jax.jit(lambda model, memory, ids: model.advance(memory, ids))
    for position in range(prompted, total):
        logits, memory = advance(made, memory, ids[:, position])
        steps.append(logits)
    np.testing.assert_allclose(jnp.stack(steps, axis=1), full[:, prompted - 1 :], rtol=0, atol=1e-5)


def test_greedy_continuation_is_the_full_forward_s_choice() -> None:
    made = model()
    generated = made.generate(prompt(5), 12, key=jax.random.key(0), temperature=0.0)
    choices = jnp.argmax(logits_of(made, generated), axis=-1)
    np.testing.assert_array_equal(generated[:, 5:], choices[:, 4:-1])


# Shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LLAMAS)
def test_presets_have_as_many_parameters_as_their_widths_say(name: str) -> None:
    config = preset(name, 50_257)
    dim, kv_dim = config.model_dim, config.model_dim // config.num_heads * (config.num_kv_heads or config.num_heads)
    layer = 2 * dim * dim + 2 * dim * kv_dim + 3 * dim * config.ffn_hidden_dim + 2 * dim
    streams = 2 * 9 if config.residual_streams == 2 else 0
    embeddings = (1 if config.share_emb else 2) * 50_257 * dim
    assert build_model(config).parameter_count == config.num_layers * (layer + streams) + embeddings + dim


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("d20", 17.98),
        ("nano-125m", 127.1),
        ("nano-1b", 1115),
        ("medium-3b", 1806),
        ("large-7b", 7000),
        ("d20-e3-full", 243.9),
        ("tiny-cpu", 3.67),
        ("small-50m", 58.3),
        ("llama-270m", 317.3),
    ],
)
def test_their_counts_are_those_that_are_published(name: str, millions: float) -> None:
    assert build_model(preset(name, preset_vocabulary(name))).parameter_count / 1e6 == pytest.approx(millions, rel=1e-3)


def test_weights_that_write_to_the_residual_stream_begin_smaller() -> None:
    made = model(model_dim=128, ffn_hidden_dim=256, num_layers=8)
    deviations = {path: float(jnp.std(leaf)) for path, leaf in named_leaves(made) if "blocks.0" in path}
    for path in ("blocks.0.attn.wq.weight", "blocks.0.ffn.up.weight"):
        assert deviations[path] == pytest.approx(0.02, rel=0.03)
    for path in ("blocks.0.attn.wo.weight", "blocks.0.ffn.down.weight"):
        assert deviations[path] == pytest.approx(0.005, rel=0.03)


def test_operations_are_counted_by_part() -> None:
    """Two per weight of a matrix, and four per channel and key seen; a lookup costs none."""
    projections = 2 * (2 * (32 * 32) + 2 * (32 * 16) + 3 * (32 * 48))
    attention = 4 * 32 * (24 + 1) / 2
    assert model().forward_flops_per_token(24) == 2 * (projections + attention) + 2 * 32 * VOCAB


@pytest.mark.parametrize(
    ("changes", "fused"),
    [
        ({"compute_dtype": "bfloat16"}, True),
        ({"compute_dtype": "float32"}, False),
        ({"compute_dtype": "bfloat16", "num_heads": 8}, False),
        ({"compute_dtype": "bfloat16", "model_dim": 1024, "num_heads": 4}, False),
    ],
)
def test_attention_is_fused_where_the_kernel_takes_it(changes: dict[str, Any], fused: bool) -> None:
    assert takes_fused_attention(model_config("llama", **changes)) is fused
