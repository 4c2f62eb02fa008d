import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from megalodon_jax import MegalodonConfig

from chomp.config.model import ModelConfig
from chomp.config.presets import MODEL_PRESETS, expand_preset
from chomp.errors import ConfigError
from chomp.model.build import build_model
from chomp.model.megalodon import megalodon_config, uses_associative_scan
from tests.model.tiny import model_config

MEGALODONS = [name for name, shape in MODEL_PRESETS.items() if shape["backend"] == "megalodon"]
FACTORIES = {
    name: getattr(MegalodonConfig, "from_paper_7b" if name == "paper_7b" else f"from_upstream_{name}")
    for name in MEGALODONS
}


def preset_config(name: str) -> ModelConfig:
    written = {"preset": name, "vocab_size": 32_000, "bos_token_id": 1, "eos_token_id": 2, "compute_dtype": "float32"}
    return ModelConfig.model_validate(expand_preset({"model": written})["model"])


@pytest.mark.parametrize("name", MEGALODONS)
def test_preset_is_the_library_s_shape(name: str) -> None:
    assert megalodon_config(preset_config(name), "gpu") == FACTORIES[name](vocab_size=32_000)


@pytest.mark.parametrize("name", MEGALODONS)
def test_counted_parameters_are_the_library_s_formula(name: str) -> None:
    model_def = build_model(preset_config(name), backend="gpu")
    expected = FACTORIES[name](vocab_size=32_000).parameter_count_breakdown()
    counted = model_def.parameter_breakdown()
    assert model_def.parameter_count == expected["total"]
    layers = expected["layers"] // expected["per_layer"]
    assert counted["embedding"] == expected["embedding"]
    assert counted.get("output_head", 0) == expected["output_head"]
    assert counted["final_norm"] == expected["final_norm"]
    for ours, theirs in (("cema", "cema"), ("ffn", "ffn"), ("attention_projections", "attention_projections"),
                         ("qk_affine", "qk_affine"), ("timestep_norm", "timestep_norm"), ("rms_norm", "rmsnorm"),
                         ("ffn_norm", "ffn_norm")):  # fmt: skip
        assert counted[ours] == layers * expected[f"{theirs}_per_layer"], ours


def test_every_field_of_the_library_s_configuration_can_be_set() -> None:
    ours = set(ModelConfig.model_fields) | {"use_associative_segment_scan"}
    assert {field.name for field in dataclasses.fields(MegalodonConfig)} <= ours
    changed = model_config(
        num_layers=2, num_heads=4, z_dim=32, value_dim=64, ffn_hidden_dim=96, cema_ndim=8, chunk_size=8,
        attention_window=6, norm_num_groups=8, norm_eps=1e-4, norm_affine=False, rope_base=500.0, swiglu=True,
        rescale_nffn=True, scale_emb=True, share_emb=True, init_mode="bert", dropout=0.1, attention_dropout=0.2,
        attention_dropout_mode="dropkey", hidden_dropout=0.3, pad_token_id=3, bos_token_id=4, eos_token_id=5,
        param_dtype="bfloat16", compute_dtype="bfloat16", attention_softmax_dtype="bfloat16",
        output_size=61, model_dim=64, vocab_size=61, cema="associative",
    )  # fmt: skip
    built, default = megalodon_config(changed, "cpu"), MegalodonConfig()
    same = {f.name for f in dataclasses.fields(built) if getattr(built, f.name) == getattr(default, f.name)}
    # Recomputation is chomp's own (`chomp.model.remat`).
    assert same == {"use_associative_segment_scan", "accum_dtype", "use_checkpoint"}


@pytest.mark.parametrize(
    ("cema", "backend", "associative"),
    [("auto", "cpu", False), ("auto", "gpu", True), ("auto", "tpu", True),
     ("associative", "cpu", True), ("sequential", "gpu", False)],
)  # fmt: skip
def test_the_library_s_scan_is_chosen_by_backend(cema: str, backend: str, associative: bool) -> None:
    assert uses_associative_scan(cema, backend) is associative
    assert megalodon_config(model_config(cema=cema), backend).use_associative_segment_scan is associative


@pytest.mark.parametrize("changes", [{}, {"scale_emb": True, "share_emb": True, "swiglu": True, "rescale_nffn": True}])
def test_init_gives_arrays_only_and_abstract_is_its_shape(changes: dict[str, bool]) -> None:
    model_def = build_model(model_config(**changes))
    params, abstract = model_def.init(jax.random.key(1)), model_def.abstract()
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(params))
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), abstract
    )
    assert model_def.parameter_count == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_scaled_embedding_keeps_its_factor() -> None:
    model_def = build_model(model_config(scale_emb=True))
    assert model_def.init(jax.random.key(0)).model.scale == pytest.approx(math.sqrt(32))
    assert model_def.abstract().model.scale == pytest.approx(math.sqrt(32))


def test_same_seed_same_parameters_other_seed_others() -> None:
    model_def = build_model(model_config())
    first, again, other = (model_def.init(jax.random.key(seed)) for seed in (0, 0, 1))
    assert eqx.tree_equal(first, again)
    assert not eqx.tree_equal(first, other)


def test_parameters_are_fp32_under_bf16_compute() -> None:
    model_def = build_model(model_config(compute_dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(model_def.abstract())} == {jnp.dtype("float32")}


def test_widths_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(model_config(num_heads=3))
    assert str(caught.value) == (
        "The `model` section does not describe a Megalodon: z_dim (16) must be divisible by num_heads (3)."
    )


def test_unknown_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.vocab_size is not known"):
        build_model(model_config(vocab_size=None))
