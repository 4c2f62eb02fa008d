"""The files in configs/: valid, and opened by what a reader needs first."""

from pathlib import Path

import pytest

from chomp.config import derive, load_config, notes

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))


def test_there_are_files():
    names = {file.stem for file in FILES}
    assert names >= {"quickstart", "debug_smoke", "megalodon_100m_zyda2", "megalodon_200m_zyda2"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_opens_with_its_purpose(file):
    head = file.read_text(encoding="utf-8").split("\n\n")[0]
    for heading in ("# Purpose ", "# Hardware ", "# Wall time ", "# Expected loss ", "# Command ", "# Batch "):
        assert heading in head
    assert f"chomp train configs/{file.relative_to(CONFIGS)}" in head


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_is_valid_and_its_arithmetic_is_right(file):
    loaded = load_config(file)
    assert notes(loaded.config) == ()
    derived, train = derive(loaded.config), loaded.config.train
    arithmetic = f"grad_accum {derived.grad_accum} x batch_size {train.batch_size} x seq_len {train.seq_len} = "
    assert f"{arithmetic}{derived.tokens_per_step:,} tokens per step" in loaded.text
    assert f"{train.steps:,} steps read" in loaded.text


def test_the_big_ones_hold_what_their_name_says():
    for name, chunk in (("megalodon_100m_zyda2", 512), ("megalodon_200m_zyda2", 1024)):
        config = load_config(CONFIGS / f"{name}.yaml").config
        assert (config.data.hf_dataset, config.data.hf_name) == ("Zyphra/Zyda-2", "sample-100BT")
        assert (config.model.chunk_size, config.optim.name) == (chunk, "muon")
        assert (config.model.param_dtype, config.model.compute_dtype) == ("float32", "bfloat16")
