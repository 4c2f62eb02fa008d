"""Presets equal the model library's own shapes."""

import dataclasses
from typing import get_args

import pytest
from megalodon_jax import MegalodonConfig

from chomp.config import parse_config
from chomp.config.model import ModelPreset
from chomp.config.presets import MODEL_PRESETS


def test_every_name_has_a_shape():
    assert set(MODEL_PRESETS) == set(get_args(ModelPreset))


@pytest.mark.parametrize("name", [name for name, shape in MODEL_PRESETS.items() if shape["backend"] == "megalodon"])
def test_equal_to_the_library(name):
    factory = getattr(MegalodonConfig, "from_paper_7b" if name == "paper_7b" else f"from_upstream_{name}")
    theirs = dataclasses.asdict(factory(vocab_size=384))
    ours = parse_config(f"{{model: {{preset: {name}}}}}", source="c.yaml").config.model.model_dump()
    shared = set(theirs) & set(ours) - {"vocab_size", "bos_token_id", "eos_token_id"}
    shared -= {field for field in shared if field.endswith("dtype")}
    assert len(shared) > 20
    assert {field: ours[field] for field in shared} == {field: theirs[field] for field in shared}


def test_what_is_written_wins():
    loaded = parse_config(
        "{model: {preset: paper_7b, num_layers: 2, rope_base: null}}", source="c.yaml", overrides=["model.z_dim=512"]
    )
    model = loaded.config.model
    assert (model.num_layers, model.rope_base, model.z_dim, model.model_dim) == (2, None, 512, 4096)
    assert [loaded.origins[f"model.{name}"] for name in ("num_layers", "z_dim", "model_dim", "use_checkpoint")] == [
        "file",
        "override",
        "preset",
        "default",
    ]


def test_a_preset_by_override():
    config = parse_config("{}", source="c.yaml", overrides=["model.preset=mega1_3b_pg19"]).config
    assert (config.model.share_emb, config.model.model_dim) == (True, 2048)


def test_a_preset_brings_its_architecture():
    model = parse_config("{model: {preset: llama-270m, num_layers: 2}}", source="c.yaml").config.model
    assert (model.backend, model.num_layers, model.num_kv_heads, model.share_emb) == ("llama", 2, 4, True)
