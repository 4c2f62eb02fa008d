"""A configuration is filled from the weights to start from, and what contradicts them is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chomp.config import InvalidConfig, parse_config, parse_resolved
from chomp.config.pretrained import named_weights, reinterpreted, resumed
from tests.pretrained.folders import hub_folder

LLAMA_3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hub_folder(tmp_path / "llama")


def text(folder: Path, **model: Any) -> str:
    return json.dumps({"model": {"init_from": str(folder), **model}})


def refused(written: str, *overrides: str) -> list[str]:
    """The problems of a configuration, without their places."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config(written, source="c.yaml", overrides=overrides)
    assert all(problem.where for problem in caught.value.problems)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_shape_and_tokenizer_come_from_the_folder(folder: Path) -> None:
    loaded = parse_config(
        text(folder, rope_base=1e6, dropout=0.1), source="c.yaml", overrides=["data.tokenizer.add_bos=true"]
    )
    model, tokenizer = loaded.config.model, loaded.config.data.tokenizer
    assert (model.backend, model.vocab_size, model.model_dim, model.ffn_hidden_dim) == ("llama", 32, 16, 24)
    assert (model.num_layers, model.num_heads, model.num_kv_heads, model.share_emb) == (2, 4, 2, False)
    assert (model.norm_eps, model.rope_base, model.dropout) == (1e-6, 1e6, 0.1)
    assert (tokenizer.kind, tokenizer.path, tokenizer.add_bos) == ("file", str(folder / "tokenizer.json"), True)
    places = ("model.model_dim", "model.rope_base", "model.dropout", "model.param_dtype", "data.tokenizer.kind")
    assert [loaded.origins[place] for place in places] == ["weights", "file", "file", "default", "weights"]
    found = named_weights({"model": {"init_from": str(folder)}})
    assert found is not None
    assert reinterpreted(model, found) == [f"model.rope_base is 1000000.0, and {folder} was trained with 500000.0"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_key_value_heads": None, "tie_word_embeddings": True}, {"num_kv_heads": 4, "share_emb": True}),
        ({"rope_theta": "absent", "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, {"rope_base": 7.0}),
        ({"rope_theta": "absent"}, {"rope_base": 10_000.0, "rope_scaling": None}),
        # As the files of Llama 3.2 have it, and as version 5 of transformers writes it.
        ({"rope_scaling": LLAMA_3}, {"rope_scaling": 32.0, "rope_original_seq_len": 8192, "rope_base": 500_000.0}),
        (
            {"rope_parameters": {**LLAMA_3, "rope_theta": 7.0}, "rope_scaling": "absent", "rope_theta": "absent"},
            {"rope_scaling": 32.0, "rope_original_seq_len": 8192, "rope_base": 7.0},
        ),
        (
            {"rope_scaling": {"type": "llama3", "factor": 8}, "max_position_embeddings": 4096},
            {"rope_scaling": 8.0, "rope_original_seq_len": 4096},
        ),
    ],
)
def test_what_a_config_json_leaves_open(tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    model = parse_config(text(hub_folder(tmp_path / "m", **changes)), source="c.yaml").config.model
    assert {name: getattr(model, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; chomp starts from models of the type 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu, and chomp's Llama computes only silu"),
        ({"attention_bias": True}, "attention_bias is true, and chomp's Llama computes only false"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
            "the type of rope_parameters is yarn, and chomp's Llama computes only default and llama3",
        ),
        (
            {"rope_scaling": {**LLAMA_3, "high_freq_factor": 8.0}},
            "high_freq_factor is 8.0, and chomp's Llama computes only 4.0",
        ),
        ({"rope_scaling": {**LLAMA_3, "factor": "x"}}, "factor is \"x\", and a number above 0 is needed"),
        ({"rope_scaling": {**LLAMA_3, "factor": 0.5}}, "factor is 0.5, and a number of at least 1 is needed"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "max_position_embeddings": "absent"},
            "original_max_position_embeddings is null, and a whole number above 0 is needed",
        ),
        ({"rope_parameters": "x"}, "rope_parameters is no table; replace the file"),
        (
            {"quantization_config": {"bits": 4}},
            "the weights are quantised (quantization_config); chomp starts from float32, bfloat16 and float16",
        ),
        (
            {"head_dim": 8},
            "head_dim is 8, and chomp's heads have hidden_size / num_attention_heads channels, 16 / 4",
        ),
        ({"hidden_size": "absent"}, "hidden_size is null, and a whole number above 0 is needed"),
        ({"vocab_size": True}, "vocab_size is true, and a whole number above 0 is needed"),
        ({"rms_norm_eps": "1"}, "rms_norm_eps is \"1\", and a number above 0 is needed"),
        ({"hidden_size": "128"}, "hidden_size is \"128\", and a whole number above 0 is needed"),
    ],
)  # fmt: skip
def test_a_config_json_that_chomp_does_not_compute(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = hub_folder(tmp_path / "m", **changes)
    assert refused(text(folder)) == [f"model.init_from: {folder / 'config.json'}: {said}"]


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = hub_folder(tmp_path / "broken")
    (broken / "config.json").write_text("{")
    (lost,) = refused('{"model": {"init_from": "meta-llama/Llama-3.2-1B"}}')
    assert lost.startswith("model.init_from: there is no meta-llama/Llama-3.2-1B; write the path of a folder")
    (empty,) = refused(text(tmp_path / "empty"))
    assert empty.startswith(
        f"model.init_from: {tmp_path / 'empty'} holds no weights that chomp reads: expected a Hugging"
    )
    (torn,) = refused(text(broken))
    assert torn.startswith(f"model.init_from: {broken / 'config.json'} is not valid JSON")
    assert refused('{"model": {"init_from": ""}}') == [
        "model.init_from: expected text that is not empty, or null, got the text ''"
    ]


def test_contradictions_are_named(folder: Path) -> None:
    differs = f"contradicts {folder}, whose weights have"
    assert refused(text(folder, model_dim=64, share_emb=True), "model.num_kv_heads=4") == [
        f"model.model_dim: 64 {differs} 16; remove it, or write 16",
        f"model.share_emb: true {differs} false; remove it, or write false",
        f"model.num_kv_heads: 4 {differs} 2; remove it, or write 2",
    ]
    assert refused(text(folder, backend="megalodon", num_layers=9)) == [
        f"model.backend: megalodon {differs} llama; remove it, or write llama"
    ]
    assert refused(text(folder, vocab_size=48)) == [
        f"model.vocab_size: 48 {differs} 32; remove it, or write 32, or write model.init_vocab: extend"
    ]
    assert refused(text(folder, vocab_size=8, init_vocab="extend"))[0].startswith(f"model.vocab_size: 8 {differs} 32")
    assert refused(text(folder, preset="micro"))[0].startswith("model.preset: names a shape")
    assert refused('{"model": {"init_vocab": "extend"}}')[0].startswith("model.init_vocab: extend adds rows")
    assert parse_config(text(folder, vocab_size=48, init_vocab="extend"), source="c").config.model.vocab_size == 48
    # Null leaves a setting open.
    assert parse_config(text(folder, num_kv_heads=None), source="c").config.model.num_kv_heads == 2


def test_a_tokenizer_that_is_not_there_or_too_large(tmp_path: Path, folder: Path) -> None:
    bare = hub_folder(tmp_path / "bare", words=None)
    assert refused(text(bare)) == [
        f"data.tokenizer.kind: is not set, and {bare} has no tokenizer; write the tokenizer of its weights"
    ]
    byte = ["data.tokenizer.kind=byte"]
    (small,) = refused(text(folder), *byte)
    assert small.startswith("model.vocab_size: 32 rows cannot hold the byte tokenizer's 259 ids")
    assert "write model.init_vocab: extend, or set at least 259" in small
    grown = parse_config(text(folder, init_vocab="extend"), source="c.yaml", overrides=byte)
    assert (grown.config.model.vocab_size, grown.config.data.tokenizer.path) == (32, None)


def test_a_dump_and_a_resume_look_at_no_weights(folder: Path) -> None:
    first = parse_config(text(folder), source="c.yaml").config
    (folder / "config.json").unlink()
    assert parse_resolved(first.model_dump(), source="run").config == first
    again = parse_config(text(folder), source="c.yaml", weights=lambda _: resumed(Path("run"), first.model_dump()))
    assert again.config == first
    # A resume names what has changed by itself.
    changed = text(folder, model_dim=64)
    now = parse_config(changed, source="c.yaml", weights=lambda _: resumed(Path("run"), first.model_dump())).config
    assert (now.model.model_dim, now.model.num_layers) == (64, 2)


def test_a_run_and_its_checkpoint(tmp_path: Path) -> None:
    trained = {
        "model": {"backend": "dummy", "model_dim": 24},
        "data": {"tokenizer": {"byte_offset": 5, "add_bos": True}},
    }
    saved = parse_config(json.dumps(trained), source="c.yaml").config.model_dump()
    saved["model"]["vocab_size"] = 384
    run, step = tmp_path / "run", tmp_path / "run" / "checkpoints" / "10"
    step.mkdir(parents=True)
    (run / "config_resolved.json").write_text(json.dumps(saved))
    (step / "meta.json").write_text(json.dumps({"identity": saved}))
    for path in (run, step):
        config = parse_config(text(path), source="c.yaml").config
        assert (config.model.backend, config.model.model_dim, config.model.vocab_size) == ("dummy", 24, 384)
        assert (config.data.tokenizer.byte_offset, config.data.tokenizer.add_bos) == (5, True)
    (step / "meta.json").write_text("{}")
    assert "holds no settings of a model and a tokenizer" in refused(text(step))[0]
