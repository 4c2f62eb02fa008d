"""Token files of any program, and what cannot be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.config.data import DataConfig, TokenizerConfig
from chomp.data.sources.base import InMemorySource
from chomp.data.sources.tokens import TokensSource, token_sources
from chomp.data.tokenfiles import find_token_files, narrowest, read_offsets
from chomp.data.tokenize_corpus import CorpusPlan, prepare
from chomp.data.tokenizers import Tokenizer, build_tokenizer
from chomp.errors import DataError

DOCUMENTS = [f"document {number}: " + "a " * number for number in range(40)]


def tokenizer(**changes: Any) -> Tokenizer:
    return build_tokenizer(TokenizerConfig(**changes))


def prepared(folder: Path) -> Path:
    prepare(CorpusPlan(folder / "prepared", InMemorySource("some text", DOCUMENTS, {}), TokenizerConfig()))
    return folder / "prepared"


def sources(path: Path, **changes: Any) -> tuple[TokensSource, Any]:
    config = DataConfig(backend="tokens", tokens_path=str(path), **changes)
    return token_sources(config, tokenizer(), 384)


def text_of(source: Any) -> list[str]:
    return [tokenizer().decode(source[index]) for index in range(len(source))]


def complaint(path: Path, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        sources(path, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_prepared_folder_is_read_with_its_evaluation_text(tmp_path: Path) -> None:
    train, val = sources(prepared(tmp_path))
    assert sorted([*text_of(train), *text_of(val)]) == sorted(DOCUMENTS)
    assert len(val) == 2
    assert all(train[index][-1] == tokenizer().eos_id for index in range(len(train)))


def test_a_prepared_file_may_be_named_alone(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    train, val = sources(folder / "train.bin", tokens_eval_path=str(folder / "val.bin"))
    assert sorted([*text_of(train), *text_of(val)]) == sorted(DOCUMENTS)
    assert sources(folder / "train.bin")[1] is None


@pytest.mark.parametrize(("size", "dtype"), [(50257, "<u2"), (65535, "<u2"), (65536, "<u4"), (200_000, "<u4")])
def test_a_folder_of_another_script_has_the_width_of_its_vocabulary(tmp_path: Path, size: int, dtype: str) -> None:
    """Whose counts are not asked: one such script mixes up those of its two files."""
    (tmp_path / "metadata.json").write_text(json.dumps({"vocab_size": size, "tokenizer": "x", "train_tokens": 7}))
    for name, count in (("train", 90), ("val", 30)):
        (np.arange(count) % 300).astype(dtype).tofile(tmp_path / f"{name}.bin")
    train, val = sources(tmp_path)
    assert (train.fingerprint()["tokens"], val.fingerprint()["tokens"]) == (90, 30)


def test_an_index_divides_a_file_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"abcdefgh")
    np.array([0, 3, 3, 8], "<i8").tofile(tmp_path / "x.idx")
    train, _ = sources(tmp_path / "x.bin")
    assert [train[index].tolist() for index in range(len(train))] == [[97, 98, 99], [100, 101, 102, 103, 104]]
    raw = tokenizer(byte_offset=0, add_eos=False)
    assert (raw.decode(train[0]), raw.vocab_size, raw.eos_id) == ("abc", 256, None)


@pytest.mark.parametrize(
    ("offsets", "problem"),
    [
        ([1, 8], "begins with 1, not with 0"),
        ([0, 5, 3, 8], "is out of order: offset number 2 is 3, after 5"),
        ([0, 9], "ends at 9, but the file beside it has 8 ids"),
        ([0], "has 8 bytes, which is not two or more offsets of 8 bytes"),
    ],
)
def test_an_index_that_cannot_be_right(tmp_path: Path, offsets: list[int], problem: str) -> None:
    (tmp_path / "x.bin").write_bytes(b"abcdefgh")
    np.array(offsets, "<i8").tofile(tmp_path / "x.idx")
    assert complaint(tmp_path / "x.bin") == f"the offset index {tmp_path / 'x.idx'} {problem}"


def test_an_index_cut_off_in_an_offset(tmp_path: Path) -> None:
    (tmp_path / "x.idx").write_bytes(bytes(19))
    with pytest.raises(DataError, match="has 19 bytes, which is not"):
        read_offsets(tmp_path / "x.idx", 8)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_a_folder_without_metadata_is_read_as_the_setting_says(tmp_path: Path, dtype: Any) -> None:
    for name, count in (("train", 90), ("val", 30)):
        (np.arange(count) % 300).astype(dtype).tofile(tmp_path / f"{name}.bin")
    train, val = sources(tmp_path, tokens_dtype=dtype)
    assert (train.fingerprint()["tokens"], val.fingerprint()["tokens"]) == (90, 30)
    assert complaint(tmp_path) == (
        f"{tmp_path} has train.bin and no metadata.json, which would name the id type; set data.tokens_dtype to uint16 "
        "(nanoGPT's scripts), uint32 or uint8"
    )
    (tmp_path / "metadata.json").write_text("{}")
    assert "has no vocab_size, which determines the id type; set data.tokens_dtype" in complaint(tmp_path)
    assert len(sources(tmp_path, tokens_dtype=dtype)[0]) == len(train)


def test_a_folder_of_bytes_with_indices_needs_no_setting(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / f"{name}.bin").write_bytes(b"abcdefgh")
        np.array([0, 3, 8], "<i8").tofile(tmp_path / f"{name}.idx")
    train, val = sources(tmp_path)
    assert (len(train), len(val), train[0].tolist()) == (2, 2, [97, 98, 99])


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    (folder / "metadata.json").unlink()
    assert complaint(folder).startswith(f"{folder} has no metadata.json: chomp prepare-data writes it last")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "has version 2; this chomp reads version 1"),
        ({"dtype": "int8"}, "is invalid: dtype: "),
        ({"vocab_size": -1}, "is invalid: vocab_size: "),
        ({"train": {"tokens": 1, "bytes": 1}}, "has {tokens} ids, but"),
        ({"format": "other"}, "is invalid: format: "),
    ],
)
def test_metadata_that_contradict_the_file(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    folder = prepared(tmp_path)
    values = json.loads((folder / "metadata.json").read_text())
    expected = problem.format(tokens=f"{values['train']['tokens']:,}")
    (folder / "metadata.json").write_text(json.dumps({**values, **change}))
    assert expected in complaint(folder)


def test_a_prepared_file_that_was_cut_off(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    whole = (folder / "train.bin").read_bytes()
    (folder / "train.bin").write_bytes(whole[:-4])
    assert "it was cut off or changed: prepare the data again" in complaint(folder)
    (folder / "train.bin").write_bytes(whole[:-3])
    assert "is not a whole number of uint16 ids" in complaint(folder)


def test_another_tokenizer_than_the_one_that_wrote_it(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    config = DataConfig(backend="tokens", tokens_path=str(folder))
    with pytest.raises(DataError) as caught:
        token_sources(config, tokenizer(byte_offset=5), 384)
    assert str(caught.value) == (
        f"{folder}/train.bin was written with another tokenizer than data.tokenizer names; set data.tokenizer.kind: "
        f"byte and data.tokenizer.byte_offset: 3"
    )
    # What is put around documents is no other tokenizer.
    token_sources(config, tokenizer(add_bos=True, vocab_size_multiple=7), 384)


def test_another_width_than_the_metadata_say(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    assert complaint(folder, tokens_dtype="uint32") == (
        f"{folder}/metadata.json records uint16 ids, but data.tokens_dtype is uint32"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"vocab_size": "a"}', '{"vocab_size": true}'])
def test_metadata_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.json").write_text(content)
    assert f"{tmp_path / 'metadata.json'} " in complaint(tmp_path)
    # A file that is named itself does not hang on them.
    np.arange(8, dtype="<u4").tofile(tmp_path / "x.bin")
    assert find_token_files(tmp_path / "x.bin", "auto").train.dtype == "uint32"


def test_ids_take_no_more_room_than_they_need() -> None:
    sizes = [256, 257, 65_536, 65_537]
    assert [narrowest(size) for size in sizes] == ["uint8", "uint16", "uint16", "uint32"]


def test_metadata_nested_too_deep_are_no_json(tmp_path):
    (tmp_path / "metadata.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"metadata\.json cannot be read"):
        find_token_files(tmp_path, "auto")
