"""Files of weights: whole, in shards, and damaged in every way that a download knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from chomp.errors import DataError
from chomp.pretrained.tensors import open_tensors
from tests.pretrained.folders import hub_folder, tensors

SHARDS = "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"


@pytest.mark.parametrize("shards", [1, 3])
def test_all_tensors_and_parts_of_them(tmp_path: Path, shards: int) -> None:
    found, expected = open_tensors(hub_folder(tmp_path / "m", shards=shards)), tensors()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.whole(), expected[name])
    part = found["lm_head.weight"].part((slice(3, 9), slice(4, 16)))
    np.testing.assert_array_equal(part, expected["lm_head.weight"][3:9, 4:16])


def lose(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def cut(folder: Path) -> None:
    whole = (folder / SHARDS[0]).read_bytes()
    (folder / SHARDS[0]).write_bytes(whole[:-8])


def point_outside(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.weight"] = "../model.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda f: lose(f, SHARDS[1]),
            f"lacks the shard {SHARDS[1]} of the 3 that model.safetensors.index.json names; ",
        ),
        (lambda f: lose(f, *SHARDS), f"lacks the shard {SHARDS[0]} and 1 more of the 3 that "),
        (cut, f"/{SHARDS[0]} is no whole safetensors file: "),
        (lambda f: (f / SHARDS[0]).write_text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
        (lambda f: save_file({"x": np.zeros(1)}, f / SHARDS[0]), "the tensor x has the dtype F64; chomp reads F32"),
        (lambda f: save_file({"x": np.zeros(1, "f4")}, f / SHARDS[0]), "has no tensor "),
        (point_outside, "has no weight_map of tensors and file names"),
        (lambda f: lose(f, "model.safetensors.index.json"), "has no model.safetensors and no model.safetensors.index"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    folder = hub_folder(tmp_path / "m", shards=3)
    damage(folder)
    with pytest.raises(DataError) as caught:
        open_tensors(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"only pytorch_model\.bin; convert it with save_pretrained"):
        open_tensors(tmp_path)
