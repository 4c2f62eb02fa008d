"""8-bit exports: what plain NumPy makes of the file is what the reader gives back, within half a scale of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from chomp.checkpoint.items import fill
from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.errors import CheckpointError, ConfigError, DataError
from chomp.export import int8
from chomp.export.formats import export
from chomp.export.options import ExportOptions
from chomp.generate.load import TrainedModel
from chomp.model.paths import named_leaves
from tests.export.test_export import LLAMA, MEGALODON, ids_of, shape_of, trained
from tests.export.transcribed import logits
from tests.model.tiny import logits_of

DUMMY = {"backend": "dummy", "model_dim": 16, "compute_dtype": "float32"}
NARROW = {**LLAMA, "param_dtype": "bfloat16"}
ARCHITECTURES = {"llama": LLAMA, "bfloat16": NARROW, "megalodon": MEGALODON, "dummy": DUMMY}
CHOMP = {
    "embed": "embed.weight", "norm": "norm.weight", "head": "lm_head.weight",
    "in_norm": "blocks.{}.attn_norm.weight", "mid_norm": "blocks.{}.ffn_norm.weight",
    **{name: f"blocks.{{}}.attn.w{name}.weight" for name in "qkvo"},
    **{name: f"blocks.{{}}.ffn.{name}.weight" for name in ("gate", "up", "down")},
}  # fmt: skip
UNMEASURED = ExportOptions(measure=False)


def written(folder: Path, architecture: dict[str, Any]) -> TrainedModel:
    model = trained(folder, architecture)
    files = export(model, "int8", folder / "out", UNMEASURED)
    assert set(files) == {"config.json", "model.safetensors", "tokenizer/chomp_tokenizer.json"}
    return model


def by_numpy(folder: Path) -> dict[str, np.ndarray]:
    """Every parameter in float32, from the file of tensors alone."""
    tensors = load_file(folder / "model.safetensors")
    found = {}
    for name, value in tensors.items():
        if value.dtype == np.int8:
            found[name] = value.astype(np.float32) * tensors[f"{name}.scale"].reshape(-1, 1)
        elif not name.endswith(".scale"):
            found[name] = value.astype(np.float32)
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_entry_is_within_half_a_scale(tmp_path: Path, name: str) -> None:
    model = written(tmp_path, ARCHITECTURES[name])
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    narrow = set()
    for path, leaf in named_leaves(model.params):
        found, original = tensors[path], np.asarray(leaf)
        if found.dtype != np.int8:
            assert found.dtype == original.dtype
            assert found.tobytes() == original.tobytes()
            continue
        narrow.add(path)
        scale = tensors[f"{path}.scale"].astype(np.float64)[:, None]
        off = np.abs(original.astype(np.float64) - found.astype(np.float64) * scale)
        assert (off <= scale / 2).all()
        # As fine as 8 bits are: the largest entry of each row takes the largest integer.
        assert (np.abs(found.astype(int)).max(axis=1) == 127).all()
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    assert set(described["int8"]) == narrow
    assert {path for path, leaf in named_leaves(model.params) if path.endswith("weight") and leaf.ndim == 2} == narrow
    assert described["loss"] is None
    assert described["model"]["vocab_size"] == model.config.model.vocab_size


@pytest.mark.parametrize("name", ["llama", "bfloat16"])
def test_a_llama_by_numpy_has_the_readers_logits(tmp_path: Path, name: str) -> None:
    model = written(tmp_path, ARCHITECTURES[name])
    restored, ids = int8.read(tmp_path / "out"), ids_of(model)
    weights = by_numpy(tmp_path / "out")
    if name == "bfloat16":
        weights = {path: np.asarray(jnp.asarray(value, jnp.bfloat16), np.float32) for path, value in weights.items()}
    expected = logits(ids, weights, CHOMP, shape_of(model, neighbours=False))
    found = np.asarray(logits_of(restored.model_def.combine(restored.params), jnp.asarray(ids[None])))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    assert restored.tokenizer.digest() == model.tokenizer.digest()
    assert restored.cost is None


@pytest.mark.parametrize("name", ["megalodon", "dummy"])
def test_other_models_by_numpy_have_the_readers_logits(tmp_path: Path, name: str) -> None:
    model = written(tmp_path, ARCHITECTURES[name])
    restored, ids = int8.read(tmp_path / "out"), jnp.asarray(ids_of(model)[None])
    tree = fill(model.params, {path: jnp.asarray(value) for path, value in by_numpy(tmp_path / "out").items()})
    # Megalodon's by its library, without anything of chomp's between.
    library = eqx.filter_jit(lambda network, ids: network(ids, deterministic=True)[0])
    expected = library(tree, ids) if name == "megalodon" else logits_of(tree, ids)
    found = logits_of(restored.model_def.combine(restored.params), ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(jnp.abs(expected).max()))
    near = logits_of(model.model_def.combine(model.params), ids)
    assert 0 < float(jnp.abs(found - near).max()) < 0.1 * float(jnp.abs(near).max())
    assert isinstance(restored.tokenizer, ByteTokenizer)


@pytest.mark.parametrize("row", [0.0, 1e-45, -3e38])
def test_rows_at_the_ends_of_the_range(tmp_path: Path, row: float) -> None:
    model = trained(tmp_path, DUMMY)
    changed = fill(
        model.params,
        {
            path: leaf.at[3].set(row) if path == "embed.weight" else leaf
            for path, leaf in named_leaves(model.params)
        },
    )  # fmt: skip
    export(TrainedModel(**{**vars(model), "params": changed}), "int8", tmp_path / "out", UNMEASURED)
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    scale = float(tensors["embed.weight.scale"][3])
    assert scale > 0
    off = np.abs(np.asarray(changed.embed.weight[3], np.float64) - tensors["embed.weight"][3] * np.float64(scale))
    assert (off <= scale / 2).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    model = trained(tmp_path, DUMMY)
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(value), model.params)
    with pytest.raises(DataError, match=r"parameter embed\.weight holds numbers that are not finite"):
        export(TrainedModel(**{**vars(model), "params": broken}), "int8", tmp_path / "out", UNMEASURED)
    assert list(tmp_path.iterdir()) == []


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 has no other dtype; remove --dtype bfloat16"):
        export(trained(tmp_path, LLAMA), "int8", tmp_path / "out", ExportOptions("bfloat16", measure=False))


def test_a_folder_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    written(tmp_path, DUMMY)
    folder = tmp_path / "out"
    with pytest.raises(CheckpointError, match="No such file or directory; give a folder of `--to int8`"):
        int8.read(tmp_path)
    described = json.loads((folder / "config.json").read_text())

    def says(change: dict[str, Any], problem: str) -> None:
        (folder / "config.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(CheckpointError, match=problem):
            int8.read(folder)

    says({"format": "other"}, "is no export of `--to int8`")
    says({"version": 2}, "has version 2 of chomp-int8; this chomp reads 1")
    says({"model": {**described["model"], "model_dim": 24}}, "embed.weight has shape .* instead of")
    says({"int8": [*described["int8"], "lm_head.bias"]}, "lm_head.bias.scale")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        int8.read(folder)
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        int8.read(folder)
