"""Exported models are the models that were trained: read back by others' readers, and computed in others' ways."""

from __future__ import annotations

import functools
import itertools
import json
import math
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import equinox as eqx
import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from megalodon_jax import load_checkpoint
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoTokenizer

from chomp.config.data import TokenizerConfig
from chomp.config.load import parse_config
from chomp.data.bpe import train_bpe
from chomp.data.tokenizers import Tokenizer, build_tokenizer
from chomp.errors import ConfigError, DataError
from chomp.export import formats
from chomp.export.formats import export
from chomp.export.gguf import pair_order
from chomp.export.options import ExportOptions
from chomp.generate.load import TrainedModel
from chomp.model.build import ModelDef, build_model
from chomp.model.resolve import resolve_model
from chomp.record.rundir import RunDir
from tests.export.transcribed import Layer, Shape, llama3_slowing, logits
from tests.model.tiny import logits_of

TEXT = "def f(x):\n    return 'naïve café' + x\n"
HF = {
    "embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight",
    "in_norm": "model.layers.{}.input_layernorm.weight", "mid_norm": "model.layers.{}.post_attention_layernorm.weight",
    **{name: f"model.layers.{{}}.self_attn.{name}_proj.weight" for name in "qkvo"},
    **{name: f"model.layers.{{}}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")},
}  # fmt: skip
GGUF = {
    "embed": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight",
    "in_norm": "blk.{}.attn_norm.weight", "mid_norm": "blk.{}.ffn_norm.weight", "o": "blk.{}.attn_output.weight",
    **{name: f"blk.{{}}.attn_{name}.weight" for name in "qkv"},
    **{name: f"blk.{{}}.ffn_{name}.weight" for name in ("gate", "up", "down")},
}  # fmt: skip
LLAMA = {
    "backend": "llama", "model_dim": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_hidden_dim": 64,
    "compute_dtype": "float32", "rope_base": 500.0, "norm_eps": 1e-4,
}  # fmt: skip
MEGALODON = {
    "model_dim": 32, "num_layers": 2, "num_heads": 1, "z_dim": 16, "value_dim": 32, "ffn_hidden_dim": 48,
    "cema_ndim": 4, "chunk_size": 16, "norm_num_groups": 4, "compute_dtype": "float32",
}  # fmt: skip


@functools.cache
def byte_level_bpe(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(train_bpe([TEXT * 9, "return x\n" * 9], 290).to_str())
    return path


def tokenizer(kind: str, folder: Path) -> Tokenizer:
    settings = {"kind": "file", "path": str(byte_level_bpe(folder))} if kind == "bpe" else {}
    return build_tokenizer(TokenizerConfig(vocab_size_multiple=8, **settings))


def trained(folder: Path, model: dict[str, Any], kind: str = "byte") -> TrainedModel:
    """A model as it would come from a checkpoint; its parameters are drawn, and none is 1 or 0 by accident."""
    return described(folder, model, kind, drawn)


def drawn(model_def: ModelDef) -> Any:
    leaves, structure = jax.tree.flatten(model_def.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape, leaf.dtype) for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def described(
    folder: Path, model: dict[str, Any], kind: str = "byte", parameters: Callable[[ModelDef], Any] = ModelDef.abstract
) -> TrainedModel:
    """A model for what looks at no parameter: it has their shapes only."""
    made = tokenizer(kind, folder)
    config = parse_config(json.dumps({"model": model, "train": {"seq_len": 48}}), source="test").config
    config = config.model_copy(update={"model": resolve_model(config.model, made)})
    model_def = build_model(config.model)
    return TrainedModel(RunDir(folder / "run"), cast(Any, None), config, made, model_def, parameters(model_def))


def ours(model: TrainedModel, ids: np.ndarray) -> np.ndarray:
    return np.asarray(logits_of(model.model_def.combine(model.params), jnp.asarray(ids[None])))[0]


def ids_of(model: TrainedModel) -> np.ndarray:
    return np.asarray(model.tokenizer.encode(TEXT))


def shape_of(model: TrainedModel, *, neighbours: bool) -> Shape:
    config = model.config.model
    kv_heads = config.num_kv_heads or config.num_heads
    base, slowing = config.rope_base or 1e4, None
    if config.rope_scaling is not None:
        width = config.model_dim // config.num_heads
        slowing = llama3_slowing(width, base, config.rope_scaling, config.rope_original_seq_len)
    return Shape(config.num_layers, config.num_heads, kv_heads, config.norm_eps, base, neighbours, slowing)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_for_transformers(tmp_path: Path, kind: str, tied: bool) -> None:
    model = trained(tmp_path, {**LLAMA, "share_emb": tied}, kind)
    files = export(model, "hf", tmp_path / "out", ExportOptions())
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    weights, ids = load_file(tmp_path / "out" / "model.safetensors"), ids_of(model)
    found = logits(ids, weights, HF, shape_of(model, neighbours=False))
    np.testing.assert_allclose(ours(model, ids), found, rtol=0, atol=2e-5 * np.abs(found).max())
    assert ("lm_head.weight" in weights) is not tied

    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.model_type, config.tie_word_embeddings, config.num_key_value_heads) == ("llama", tied, 2)
    assert (config.rms_norm_eps, config.rope_parameters["rope_theta"], config.vocab_size) == (
        1e-4, 500.0, model.config.model.vocab_size
    )  # fmt: skip
    reader = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert reader.encode(TEXT, add_special_tokens=False) == ids.tolist()
    assert reader.decode(ids) == TEXT
    assert (reader.eos_token_id, reader.pad_token_id) == (model.tokenizer.eos_id, model.tokenizer.pad_id)


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 2e-5), ("float16", 2e-3), ("bfloat16", 2e-2), ("q8_0", 2e-2)])
def test_a_llama_for_llama_cpp(tmp_path: Path, dtype: Any, tolerance: float) -> None:
    model = trained(tmp_path, LLAMA, "bpe")
    assert set(export(model, "gguf", tmp_path / "out", ExportOptions(dtype))) == {"model.gguf"}
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    tensors = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    ids = ids_of(model)
    found = logits(ids, tensors, GGUF, shape_of(model, neighbours=True))
    np.testing.assert_allclose(ours(model, ids), found, rtol=0, atol=tolerance * np.abs(found).max())
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "llama"
    assert (fields["llama.block_count"], fields["llama.attention.head_count_kv"]) == (2, 2)
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == len(fields["tokenizer.ggml.token_type"]) == model.config.model.vocab_size
    assert fields["tokenizer.ggml.eos_token_id"] == model.tokenizer.eos_id
    assert "".join(tokens[i] for i in ids).replace("Ġ", " ").startswith("def")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["output_norm.weight"] == kinds["blk.0.attn_norm.weight"] == "F32"
    expected = {None: "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}[dtype]
    assert kinds["blk.1.attn_q.weight"] == kinds["token_embd.weight"] == expected


@pytest.mark.parametrize("file", ["hf", "gguf"])
def test_scaled_positions_of_a_llama(tmp_path: Path, file: Any) -> None:
    """Of its four pairs of channels one keeps its rate, one loses the whole factor, and two a part of it."""
    model = trained(tmp_path, {**LLAMA, "rope_scaling": 8.0, "rope_original_seq_len": 64, "rope_base": 100.0}, "bpe")
    export(model, file, tmp_path / "out", ExportOptions())
    shape, ids = shape_of(model, neighbours=file == "gguf"), ids_of(model)
    assert shape.slowing is not None
    assert shape.slowing[0] == 1
    assert 1 < shape.slowing[1] < shape.slowing[2] < shape.slowing[3] == 8
    if file == "gguf":
        reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
        tensors = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
        np.testing.assert_allclose(tensors["rope_freqs.weight"], shape.slowing, rtol=1e-6)
        names = GGUF
    else:
        rope = json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"]
        assert rope == AutoConfig.from_pretrained(tmp_path / "out").rope_parameters
        assert rope == {
            "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }  # fmt: skip
        tensors, names = load_file(tmp_path / "out" / "model.safetensors"), HF
    found = logits(ids, tensors, names, shape)
    np.testing.assert_allclose(ours(model, ids), found, rtol=0, atol=2e-5 * np.abs(found).max())
    plain = logits(ids, tensors, names, replace(shape, slowing=None))
    assert np.abs(plain - found).max() > 1e-3 * np.abs(found).max()


def test_rows_of_queries_are_put_in_pairs() -> None:
    assert pair_order(8, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_megalodon_for_its_library(tmp_path: Path, kind: str) -> None:
    model = trained(tmp_path, MEGALODON, kind)
    export(model, "megalodon-jax", tmp_path / "out", ExportOptions())
    loaded = load_checkpoint(tmp_path / "out" / "model.safetensors", key=jax.random.key(9))
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(model.params), strict=True):
        np.testing.assert_array_equal(one, other)
    ids = ids_of(model)
    found, _ = eqx.filter_jit(loaded)(jnp.asarray(ids[None]), deterministic=True)
    np.testing.assert_allclose(ours(model, ids), found[0], rtol=0, atol=1e-5 * float(jnp.abs(found).max()))
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode(TEXT, add_special_tokens=False) == ids.tolist()


@pytest.mark.parametrize("streams", [2, 3, 4])
def test_a_llama_of_several_residual_streams(tmp_path: Path, streams: int) -> None:
    model = trained(tmp_path, {**LLAMA, "residual_streams": streams})
    files = export(model, "mhc", tmp_path / "out", ExportOptions())
    assert set(files) == {
        "config.json", "model.safetensors", "streams.mhc", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    layers = read_streams(tmp_path / "out" / "streams.mhc")
    assert (len(layers), len(layers[0].write)) == (4, streams)
    assert files["streams.mhc"] == 16 + 4 * {2: 36, 3: 72, 4: 160}[streams]

    def added(place: int, x: np.ndarray, layer: Layer) -> np.ndarray:
        mixed, found = np.einsum("ij,jtd->itd", layers[place].mixing, x), layer(np.tensordot(layers[place].read, x, 1))
        return mixed + layers[place].write[:, None, None] * found

    weights, ids = load_file(tmp_path / "out" / "model.safetensors"), ids_of(model)
    found = logits(ids, weights, HF, shape_of(model, neighbours=False), added, streams)
    np.testing.assert_allclose(ours(model, ids), found, rtol=0, atol=2e-5 * np.abs(found).max())
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    # Nothing that knows Llamas takes it for one and leaves the streams out.
    assert (described["model_type"], described["residual_streams"]) == ("llama_mhc", streams)
    assert "architectures" not in described
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode(TEXT, add_special_tokens=False) == ids.tolist()


class Streams(NamedTuple):
    """What `streams.mhc` says of a layer, in float64."""

    mixing: np.ndarray
    read: np.ndarray
    write: np.ndarray


def read_streams(path: Path) -> list[Streams]:
    """A reader of `streams.mhc`, from its description in docs/export.md alone."""
    data = path.read_bytes()
    magic, version, layers, n = np.frombuffer(data[:16], "<u4").tolist()
    assert (magic, version) == (0x6D484321, 2)
    mixes = 1 if n == 2 else math.factorial(n)
    numbers = np.frombuffer(data[16:], "<f4").astype(np.float64).reshape(layers, mixes + 4 * n)
    found = []
    for alpha, pre, pre_bias, post, post_bias in (
        np.split(row, [mixes, mixes + n, mixes + 2 * n, mixes + 3 * n]) for row in numbers
    ):
        shares = np.exp([alpha[0], 0.0] if n == 2 else alpha)
        mixing = np.zeros((n, n))
        for share, order in zip(shares / shares.sum(), itertools.permutations(range(n)), strict=True):
            mixing[np.arange(n), order] += share
        found.append(Streams(mixing, 1 / (1 + np.exp(-pre - pre_bias)), 2 / (1 + np.exp(-post - post_bias))))
    return found


STREAMS = {**LLAMA, "residual_streams": 2}


@pytest.mark.parametrize("architecture", [LLAMA, MEGALODON, STREAMS], ids=["llama", "megalodon", "streams"])
def test_the_forward_pass_as_a_program(tmp_path: Path, architecture: dict[str, Any]) -> None:
    model = trained(tmp_path, architecture)
    export(model, "stablehlo", tmp_path / "out", ExportOptions())
    program = jax.export.deserialize((tmp_path / "out" / "forward.stablehlo").read_bytes())
    weights = load_file(tmp_path / "out" / "model.safetensors")
    ids = ids_of(model)
    signature = json.loads((tmp_path / "out" / "signature.json").read_text())
    padded = np.zeros(signature["arguments"][1]["ids"], np.int32)
    padded[0, : len(ids)] = ids
    found = program.call(weights, padded)[0, : len(ids)]
    np.testing.assert_allclose(ours(model, ids), found, rtol=0, atol=1e-5 * float(jnp.abs(found).max()))


@pytest.mark.parametrize(
    "architecture",
    [
        {**LLAMA, "num_heads": 2, "num_layers": 1, "attention": "flash"},
        {**MEGALODON, "num_layers": 1, "cema": "kernel"},
    ],
    ids=["flash", "kernel"],
)
def test_a_program_has_no_kernels(tmp_path: Path, architecture: dict[str, Any]) -> None:
    """On a CPU a kernel would be a loop over its grid."""
    export(trained(tmp_path, architecture), "stablehlo", tmp_path / "out", ExportOptions(measure=False))
    program = jax.export.deserialize((tmp_path / "out" / "forward.stablehlo").read_bytes()).mlir_module()
    assert "stablehlo.dot_general" in program
    assert "stablehlo.while" not in program


@pytest.mark.parametrize(
    ("name", "architecture", "options", "problem"),
    [
        ("hf", MEGALODON, ExportOptions(), "hf writes Llama models, and this one is a megalodon"),
        ("gguf", MEGALODON, ExportOptions(), "gguf writes Llama models, and this one is a megalodon"),
        ("megalodon-jax", LLAMA, ExportOptions(), "megalodon-jax writes Megalodon models, and this one is a llama"),
        ("hf", {**LLAMA, "attention_window": 7}, ExportOptions(), "hf cannot express model.attention_window (7)"),
        ("gguf", {**LLAMA, "attention_window": 7}, ExportOptions(), "gguf cannot express model.attention_window (7)"),
        (
            "hf",
            {**LLAMA, "residual_streams": 2},
            ExportOptions(),
            "hf cannot express model.residual_streams (2): Llama has one",
        ),
        (
            "gguf",
            {**LLAMA, "residual_streams": 4},
            ExportOptions(),
            "gguf cannot express model.residual_streams (4): Llama has",
        ),
        ("mhc", LLAMA, ExportOptions(), "mhc is for models of several residual streams, and this one has one"),
        ("mhc", MEGALODON, ExportOptions(), "mhc writes Llama models, and this one is a megalodon"),
        ("mhc", {**LLAMA, "residual_streams": 2}, ExportOptions("q8_0"), "mhc has no q8_0; only gguf has"),
        ("gguf", {**LLAMA, "ffn_hidden_dim": 40}, ExportOptions("q8_0"), "q8_0 keeps 32 weights together"),
        ("hf", LLAMA, ExportOptions("q8_0"), "hf has no q8_0; only gguf has"),
        ("megalodon-jax", MEGALODON, ExportOptions("float16"), "megalodon-jax keeps the dtype of the model, float32"),
    ],
)
def test_what_a_format_cannot_express(
    tmp_path: Path, name: str, architecture: dict[str, Any], options: ExportOptions, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        export(described(tmp_path, architecture), name, tmp_path / "out", options)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("put", ["folder", "files", "file", "link"])
def test_what_is_there_is_not_written_over(tmp_path: Path, put: str) -> None:
    model, mine = trained(tmp_path, LLAMA), tmp_path / "mine"
    if put in ("folder", "files"):
        mine.mkdir()
    if put == "files":
        (mine / "notes.txt").write_text("mine")
    if put == "file":
        mine.write_text("mine")
    if put == "link":
        mine.symlink_to(tmp_path / "nowhere")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="mine exists; name another folder, or delete it"):
        export(model, "hf", mine, ExportOptions())
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("hf", LLAMA),
        ("gguf", LLAMA),
        ("mhc", {**LLAMA, "residual_streams": 2}),
        ("int8", LLAMA),
        ("stablehlo", LLAMA),
        ("megalodon-jax", MEGALODON),
    ],
)
def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path: Path, name: str, architecture: dict[str, Any]) -> None:
    model = trained(tmp_path, architecture)
    # The weights are larger than that, so that the writer of each format meets the error itself.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(DataError, match="out cannot be written: File too large") as caught:
            export(model, name, tmp_path / "made" / "out", ExportOptions(measure=False))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == {}


def test_a_disk_that_fails_at_the_very_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(tmp_path, LLAMA)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "_to_disk", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        export(model, "hf", tmp_path / "out", ExportOptions())
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    model = trained(tmp_path, LLAMA)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="cannot be written: Not a directory"):
        export(model, "hf", tmp_path / "file" / "out", ExportOptions())
    with pytest.raises(DataError, match="cannot be written: File name too long"):
        export(model, "hf", tmp_path / ("x" * 300), ExportOptions())
