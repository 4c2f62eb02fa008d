"""Presets equal the model library's own shapes."""

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
from megalodon_jax import MegalodonConfig

from chomp.config import derive, load_config, parse_config, parse_resolved
from chomp.config.model import ModelPreset
from chomp.config.presets import MODEL_PRESETS
from chomp.errors import ConfigError
from tests.config.wrong import refusal


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


def test_names_are_written_in_any_case_and_with_either_dash():
    for name in ("NANO-125M", "nano_125m", "Mega1-3B_pg19"):
        model = parse_config(f"{{model: {{preset: {name}}}}}", source="c.yaml").config.model
        assert model.preset in MODEL_PRESETS
        assert model.num_layers == MODEL_PRESETS[model.preset]["num_layers"]
    assert refusal("model:\n  preset: nano-126m\n")[0].endswith("got the text 'nano-126m'; did you mean nano-125m?")


def test_a_preset_brings_its_optimizer_and_objective():
    loaded = parse_config("{model: {preset: d20-e3-full}, optim: {muon: {ns_steps: 3}}}", source="c.yaml")
    optim, objective = loaded.config.optim, loaded.config.objective
    assert (optim.name, optim.lr, optim.lr * optim.muon.lr_scale) == ("muon", 1e-4, pytest.approx(0.02))
    assert (optim.muon.rest, optim.muon.ns_steps, optim.lion.b2) == ("lion", 3, 0.99)
    assert (optim.schedule, optim.decay_shape, derive(loaded.config).decay_steps_effective) == ("wsd", "cosine", 200)
    assert (objective.mtp_heads, objective.token_filter_keep) == (3, 0.65)
    assert [loaded.origins[f"optim.muon.{name}"] for name in ("rest", "ns_steps", "nesterov")] == [
        "preset",
        "file",
        "default",
    ]
    assert loaded.origins["objective.mtp_heads"] == "preset"


def test_a_file_that_names_an_optimizer_gets_none_of_the_preset():
    config = parse_config("{model: {preset: d20-e3-full}, optim: {name: adamw}}", source="c.yaml").config
    assert config.optim == parse_config("{optim: {name: adamw}}", source="c.yaml").config.optim
    assert config.objective.mtp_heads == 3
    assert parse_config("{model: {preset: d20}}", source="c", overrides=["optim.name=lion"]).config.optim.lr == 1e-3


def test_a_dump_stays_as_it_is():
    """A run directory keeps every value, also those that a preset has another one for by now."""
    config = parse_config("{model: {preset: d20, num_kv_heads: 2, share_emb: false}}", source="c.yaml").config
    assert parse_resolved(config.model_dump(), source="dump").config == config


@pytest.mark.parametrize("name", ["nano-125m", "NANO-125M"])
def test_a_name_is_read_in_the_place_of_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load_config(Path(name), ["train.steps=500"])
    assert (loaded.config.model.preset, loaded.source, loaded.config.train.steps) == ("nano-125m", name, 500)
    with pytest.raises(ConfigError, match="does not exist; did you mean nano-125m"):
        load_config(Path("configs") / f"{name}.yaml")
    with pytest.raises(ConfigError, match="does not exist; did you mean nano-125m"):
        load_config(Path(name[:-1]))


def test_a_preset_brings_its_architecture():
    model = parse_config("{model: {preset: llama-270m, num_layers: 2}}", source="c.yaml").config.model
    assert (model.backend, model.num_layers, model.num_kv_heads, model.share_emb) == ("llama", 2, 4, True)
