"""Parameters begin as the bits of the weights they start from, whoever wrote these."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

from chomp.config import parse_config
from chomp.config.model import ModelConfig
from chomp.data.tokenizer_files import tokenizer_from_file
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import ConfigError, DataError
from chomp.export.formats import export
from chomp.export.options import ExportOptions
from chomp.generate.load import load_trained
from chomp.model.build import build_model
from chomp.model.paths import named_leaves
from chomp.model.resolve import resolve_model
from chomp.parallel.mesh import ONE_DEVICE
from chomp.pretrained.weights import InitialWeights, open_weights, with_new_rows
from chomp.train.blueprint import Blueprint, build_blueprint
from tests.engine import dummy_config, write_config
from tests.export.test_export import LLAMA, MEGALODON, tokenizer, trained
from tests.in_process import run
from tests.pretrained.folders import WORDS, hub_folder, tensors, vocabulary, write_shards
from tests.references import References


def blueprint(path: Path, sections: dict[str, Any] | None = None, **model: Any) -> Blueprint:
    """What a run that starts from these weights is made of."""
    values = {"model": {"init_from": str(path), "compute_dtype": "float32", **model}, **(sections or {})}
    config = parse_config(json.dumps(values), source="c.yaml").config
    assert config.data.tokenizer.kind == "file"
    return build_blueprint(config, "cpu", tokenizer_from_file(config.data.tokenizer))


def weights_of(path: Path, **model: Any) -> InitialWeights:
    found = blueprint(path, **model).weights
    assert found is not None
    return found


def require_bits(found: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape), name
        assert np.asarray(array).tobytes() == expected[name].tobytes(), name


@pytest.mark.compile
@pytest.mark.parametrize(
    ("model", "format_", "dtype"),
    [
        ({**LLAMA, "share_emb": True}, "hf", None),
        (LLAMA, "hf", "bfloat16"),
        ({**MEGALODON, "swiglu": True, "share_emb": True}, "megalodon-jax", None),
    ],
)
def test_what_chomp_exports_comes_back_to_the_bit(tmp_path: Path, model: Any, format_: str, dtype: Any) -> None:
    source = trained(tmp_path, model)
    export(source, format_, tmp_path / "out", ExportOptions(dtype))
    weights = weights_of(tmp_path / "out")
    now, before = weights.model.model_dump(), source.config.model.model_dump()
    kept = {"rope_base", "norm_eps", "share_emb", "num_layers", "vocab_size", "backend", "norm_num_groups", "z_dim"}
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}
    stored = np.float32 if dtype is None else ml_dtypes.bfloat16
    expected = {name: np.asarray(leaf).astype(stored).astype(np.float32) for name, leaf in named_leaves(source.params)}
    require_bits(weights.read(ONE_DEVICE), expected)
    # The exported tokenizer gives the ids of the one that it was made from.
    exported = tokenizer_from_file(
        parse_config(
            json.dumps({"data": {"tokenizer": {"kind": "file", "path": str(tmp_path / "out" / "tokenizer.json")}}}),
            source="c",
        ).config.data.tokenizer
    )
    assert weights.notes(exported) == weights.notes(source.tokenizer) == []
    assert len(weights.notes(tokenizer("bpe", tmp_path))) == 1


@pytest.mark.compile
def test_the_first_state_has_them_and_the_heads_are_drawn(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m", shards=3)
    sections = {"objective": {"mtp_heads": 1}}
    plan = blueprint(folder, sections, param_dtype="bfloat16")
    assert plan.weights is not None
    state = plan.first_state()
    require_bits(
        dict(named_leaves(state.params.trunk)),
        {name: np.asarray(a) for name, a in plan.weights.read(ONE_DEVICE).items()},
    )
    drawn = plan.drawn_state()
    for one, other in zip(jax.tree.leaves(state.params.mtp), jax.tree.leaves(drawn.params.mtp), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    np.testing.assert_array_equal(state.rng, drawn.rng)
    assert plan.weights.describe() == f"{folder} (Hugging Face)"


def test_new_rows_are_the_mean_of_the_others(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    words = [*WORDS[:-1], "other", "new", "newer"]
    vocabulary(words).save(str(tmp_path / "tokenizer.json"))
    longer = {
        "data": {"tokenizer": {"kind": "file", "path": str(tmp_path / "tokenizer.json"), "vocab_size_multiple": 8}}
    }
    with pytest.raises(
        ConfigError, match=r"have 32 rows and the tokenizer needs 34 ids: set model\.init_vocab to extend"
    ):
        blueprint(folder, longer)
    plan = blueprint(folder, longer, init_vocab="extend")
    assert plan.weights is not None
    assert plan.config.model.vocab_size == 40
    assert plan.weights.grown == ("embed.weight", "lm_head.weight")
    assert plan.weights.describe() == f"{folder} (Hugging Face, 8 new rows)"
    before, after = (weights.read(ONE_DEVICE) for weights in (weights_of(folder), plan.weights))
    for name in plan.weights.grown:
        old, new = np.asarray(before[name]), np.asarray(after[name])
        np.testing.assert_array_equal(new[:32], old)
        np.testing.assert_array_equal(new[32:], np.broadcast_to(old.mean(0, dtype=np.float64).astype("f4"), (8, 16)))
    assert plan.tokenizer is not None
    assert plan.weights.notes(plan.tokenizer) == [
        f"1 of the 32 ids of the tokenizer of {folder} are other text in this run's tokenizer (id 31 is 'w28' "
        "there and 'other' here): their rows begin with what the weights learned of that text"
    ]


def test_the_mean_of_a_long_table_of_bfloat16() -> None:
    table = np.random.default_rng(0).normal(size=(5000, 3)).astype(ml_dtypes.bfloat16)
    longer = with_new_rows(table, 5001)
    assert longer.dtype == table.dtype
    np.testing.assert_array_equal(longer[-1], table.astype(np.float64).mean(0).astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"lm_head.weight": None}, DataError, "has no tensor lm_head.weight; download it again"),
        (
            {"model.layers.0.self_attn.q_proj.bias": np.zeros(16, "f4")},
            DataError,
            "has the tensor model.layers.0.self_attn.q_proj.bias, and a model with this `model` section has no place",
        ),
        ({"\x1b[31mred": np.zeros(2, "f4")}, DataError, "has the tensor '\\x1b[31mred', and a model"),
        ({"lm_head.weight": np.zeros((30, 16), "f4")}, ConfigError, "lm_head.weight is 30 x 16, and the model"),
        ({"model.norm.weight": np.zeros(8, "f4")}, ConfigError, "norm.weight is 8, and the model needs 16"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_their_config_json_says(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    folder = hub_folder(tmp_path / "m")
    changed = {**tensors(), "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(2, "f4"), **changes}
    write_shards(folder, {name: array for name, array in changed.items() if array is not None}, 1)
    with pytest.raises(kind) as caught:
        weights_of(folder)
    assert said in str(caught.value)


@pytest.mark.compile
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_tensor(value: float, tmp_path: Path) -> None:
    folder, name = hub_folder(tmp_path / "m"), "model.layers.1.mlp.up_proj.weight"
    weights = tensors()
    weights[name][3, 5] = value
    write_shards(folder, weights, 1)
    with pytest.raises(DataError) as caught:
        blueprint(folder).first_state()
    assert f"{folder}: the tensor {name} holds numbers that are not finite" in str(caught.value)


def test_a_source_that_has_changed_since_the_configuration_was_read(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    plan = blueprint(folder)
    streams = dataclasses.replace(plan.model_def, config=plan.config.model.model_copy(update={"residual_streams": 2}))
    with pytest.raises(ConfigError, match="has other parameters than a model with this `model` section"):
        open_weights(streams, str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"model\.init_from: .* is no checkpoint of megalodon_jax that chomp reads"):
        open_weights(plan.model_def, str(folder))


@pytest.mark.compile
def test_a_run_starts_from_another_and_resumes_without_it(tmp_path: Path, references: References) -> None:
    origin = Path(references.copy(tmp_path / "origin", run, references.config))
    before = dict(named_leaves(load_trained(origin).params))
    source = weights_of_run(origin)
    require_bits(source.read(ONE_DEVICE), {name: np.asarray(leaf) for name, leaf in before.items()})
    assert source.describe() == f"{origin} (chomp, step 20)"
    longer = weights_of_run(origin, vocab_size=512, init_vocab="extend")
    assert longer.grown == ("embed.weight", "lm_head.weight", "lm_head.bias")
    np.testing.assert_array_equal(longer.read(ONE_DEVICE)["lm_head.bias"][:384], before["lm_head.bias"])
    # The engine itself.
    values = dummy_config(
        references.corpus, optim={"warmup_steps": 1}, train={"steps": 4}, checkpoint={"save_every": 2}
    )
    values["model"] = {"init_from": str(origin)}
    config = write_config(tmp_path / "config.yaml", values)
    first = run("train", config, "--run-dir", tmp_path / "run", "-o", "train.steps=2")
    assert first.returncode == 0, first.stderr
    assert f"weights: {origin} (chomp, step 20)" in first.stdout + first.stderr
    origin.rename(tmp_path / "elsewhere")
    again = run("train", config, "--run-dir", tmp_path / "run", "--resume", "latest")
    assert again.returncode == 0, again.stderr
    lost = run("train", config, "--run-dir", tmp_path / "new")
    assert (lost.returncode, (tmp_path / "new").exists()) == (2, False)
    assert f"model.init_from: there is no {origin}" in lost.stderr


def weights_of_run(path: Path, **model: Any) -> InitialWeights:
    config = parse_config(json.dumps({"model": {"init_from": str(path), **model}}), source="c.yaml").config
    resolved: ModelConfig = resolve_model(config.model, build_tokenizer(config.data.tokenizer))
    return open_weights(build_model(resolved), str(path))


def test_a_missing_shard_leaves_no_run_behind(tmp_path: Path, references: References) -> None:
    folder = hub_folder(tmp_path / "m", shards=2, words=[*WORDS[:3], "return"])
    (folder / "model-00002-of-00002.safetensors").unlink()
    values = {**dummy_config(references.corpus), "model": {"init_from": str(folder)}}
    config = write_config(tmp_path / "config.yaml", values)
    refused = run("train", config, "--run-dir", tmp_path / "run")
    assert (refused.returncode, (tmp_path / "run").exists()) == (3, False)
    assert refused.stderr.count("\n") == 1
    assert f"{folder} lacks the shard model-00002-of-00002.safetensors of the 2" in refused.stderr
