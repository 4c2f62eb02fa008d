"""What is refused or said before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.config.load import parse_config
from chomp.data.tokenizers import build_tokenizer, load_tokenizer
from chomp.errors import DeviceError
from chomp.record.rundir import RunDir
from chomp.train.session import _open_tokenizer, require_device


def test_no_gpu_and_no_leave_to_use_the_cpu() -> None:
    config = parse_config("train: {allow_cpu: false}", source="test").config
    with pytest.raises(DeviceError) as caught:
        require_device(config)
    assert str(caught.value) == (
        "no GPU was found and train.allow_cpu is false; set train.allow_cpu: true to train on the CPU, "
        "or run `chomp probe` to see what is missing"
    )
    assert caught.value.exit_code == 4


def test_a_snapshot_torn_before_the_first_checkpoint_is_not_read(tmp_path: Path) -> None:
    config = parse_config("train: {allow_cpu: true}", source="test").config
    run = RunDir(tmp_path)
    run.tokenizer.mkdir()
    run.config_resolved.write_text('{"data": {"tokenizer": {}}}')
    assert _open_tokenizer(config, run, resuming=True).vocab_size == 259


def test_a_snapshot_replaces_what_stood_there_whole(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(parse_config("{train: {}}", source="test").config.data.tokenizer)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "half-written").write_text("{")
    tokenizer.save(folder)
    assert load_tokenizer(folder).digest() == tokenizer.digest()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    assert [path.name for path in folder.iterdir()] == ["chomp_tokenizer.json"]
