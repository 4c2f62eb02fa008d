"""Tokenizer files that are something else, or damaged: one sentence, whatever the libraries say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.errors import CheckpointError, ChompError, DataError
from tests.conformance.tokenizer_kinds import write_kind

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 900000\n"
# A serialised ModelProto with the one piece `<unk>`.
SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"
DAMAGES = 150


def from_file(path: Path) -> Tokenizer:
    return build_tokenizer(TokenizerConfig(kind="file", path=str(path)))


def from_folder(path: Path) -> Tokenizer:
    return build_tokenizer(TokenizerConfig(kind="hf", hf_name_or_path=str(path)))


def error_of(action: Callable[[], object]) -> ChompError | None:
    try:
        action()
    except ChompError as error:
        return error
    return None


def complaint(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_with_a_sentencepiece_model_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer.model").write_bytes(SENTENCEPIECE)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}')
    said = complaint(lambda: from_folder(tmp_path))
    assert said.startswith(
        f"{tmp_path} has no tokenizer.json, only a SentencePiece model (tokenizer.model); convert it with "
    )
    assert "save_pretrained" in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt"])
def test_git_lfs_pointers(tmp_path: Path, name: str) -> None:
    if name == "tokenizer_config.json":
        write_kind("byte-level", tmp_path)
    (tmp_path / name).write_bytes(POINTER)
    expected = f"{tmp_path / name} is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`"
    assert complaint(lambda: from_folder(tmp_path)) == expected
    if name.startswith("tokenizer") and name.endswith("json"):
        assert complaint(lambda: from_file(tmp_path / "tokenizer.json")) == expected


def test_a_model_beside_a_vocabulary_is_not_read(tmp_path: Path) -> None:
    write_kind("byte-level", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(POINTER)
    assert from_folder(tmp_path).vocab_size == 300


def test_a_file_for_a_folder(tmp_path: Path) -> None:
    path = write_kind("byte-level", tmp_path)
    assert complaint(lambda: from_folder(path)) == (
        f"data.tokenizer.hf_name_or_path names a file, {path}; write data.tokenizer.kind: file and "
        f"data.tokenizer.path: {path}, or name the file's folder"
    )


@pytest.mark.parametrize("named", [{}, {"tokenizer_config.json": '{"tokenizer_class": "LlamaTokenizer"}'}])
def test_a_folder_without_a_vocabulary(tmp_path: Path, named: dict[str, str]) -> None:
    for name, content in named.items():
        (tmp_path / name).write_text(content)
    assert complaint(lambda: from_folder(tmp_path)) == (
        f"cannot load the tokenizer {tmp_path}: the folder has no tokenizer.json; check data.tokenizer.hf_name_or_path"
    )


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "7", "\x00", "[" * 100_000, '{"eos_token": 5}', '{"eos_token": {}}', r'{"eos_token": "\ud83d"}'],
)
@pytest.mark.parametrize("read", [from_file, from_folder])
def test_a_damaged_description(tmp_path: Path, content: str, read: Callable[[Path], Tokenizer]) -> None:
    path = write_kind("byte-level", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    place = path if read is from_file else tmp_path
    error = error_of(lambda: read(place))
    if error is None:
        assert "{}" in content
    else:
        assert "\n" not in str(error)
        assert error.exit_code in (2, 3)


def test_a_damaged_file_in_a_folder_is_named(tmp_path: Path) -> None:
    path = write_kind("byte-level", tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert complaint(lambda: from_folder(tmp_path)).startswith(f"{path} is not a tokenizer.json: ")
    write_kind("byte-level", tmp_path)
    (tmp_path / "special_tokens_map.json").write_text("{")
    assert complaint(lambda: from_folder(tmp_path)).startswith(
        f"{tmp_path}/special_tokens_map.json is not valid JSON: "
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kind("byte-level", tmp_path)
    path.write_text("{")

    def forbidden(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    (tmp_path / "tokenizer_config.json").unlink()
    assert (
        complaint(lambda: from_folder(tmp_path)) == f"cannot load the tokenizer {tmp_path}: {path}: Permission denied"
    )
    assert complaint(lambda: from_file(path)) == (
        f"cannot read the tokenizer {path}: Permission denied; check data.tokenizer.path"
    )


@pytest.mark.parametrize(
    ("vocab", "problem"),
    [
        ({"a": 0, "b": 0}, "gives the id 0 to both "),
        ({"a": 0, "b": 4_000_000_000}, "has the id 4,000,000,000 for 'b', but ids must be below 16,777,216"),
        ({}, "has no tokens"),
        ({"a": -1}, "is not a tokenizer.json: "),
        ({"a": 1 << 40}, "is not a tokenizer.json: "),
        ({"a": "0"}, "is not a tokenizer.json: "),
        ([["a", 0]], "is not a tokenizer.json: "),
    ],
)
def test_ids_that_no_vocabulary_has(tmp_path: Path, vocab: Any, problem: str) -> None:
    path = write_kind("word level", tmp_path)
    parts = json.loads(path.read_text())
    path.write_text(json.dumps({**parts, "added_tokens": [], "model": {**parts["model"], "vocab": vocab}}))
    assert problem in complaint(lambda: from_file(path))
    assert problem in complaint(lambda: from_folder(tmp_path))


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one damage: cut off, some bytes changed, or a value of the JSON replaced or removed."""
    kind = chance.randrange(4)
    if kind == 0:
        return content[: chance.randrange(len(content))]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    value = json.loads(content)
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = chance.choice(list(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.3:
            break
        place = inner
    if kind == 2 and isinstance(place, dict):
        del place[key]
    else:
        place[key] = chance.choice(
            [None, True, -1, 0, 1 << 33, 1.5, "", "x", [], {}, [[]], {"type": "x"}, 4_294_967_295]
        )
    return json.dumps(value).encode()


def use(read: Callable[[], Tokenizer]) -> None:
    tokenizer = read()
    for text in ("a fox </s> jumps", "été", ""):
        tokenizer.decode(tokenizer.encode_document(text))
    tokenizer.byte_lengths()


@pytest.mark.parametrize("name", ["byte-level with begin", "llama-like", "word piece", "word level"])
def test_damage_is_one_sentence_or_none(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_kind(name, tmp_path / "given")
    described = path.with_name("tokenizer_config.json")
    build_tokenizer(TokenizerConfig(kind="file", path=str(path))).save(tmp_path / "snapshot")
    snapshot = tmp_path / "snapshot"
    files = {file: file.read_bytes() for file in (path, described, *sorted(snapshot.iterdir()))}
    chance, refused = random.Random(name), 0
    for _ in range(DAMAGES):
        file = chance.choice(list(files))
        content = damaged(files[file], chance)
        file.write_bytes(content)
        is_read_by = [lambda: load_tokenizer(snapshot)] if file.parent == snapshot else [
            lambda: from_file(path), lambda: from_folder(path.parent)
        ]  # fmt: skip
        error = error_of(partial(use, chance.choice(is_read_by)))
        if error is not None:
            refused += 1
            assert "\n" not in str(error)
            assert error.exit_code in (2, 3, 5)
        assert file.read_bytes() == content
        file.write_bytes(files[file])
    assert refused > DAMAGES // 4
    assert "Traceback" not in capfd.readouterr().err


def test_a_damaged_snapshot_is_a_matter_of_the_run(tmp_path: Path) -> None:
    from_file(write_kind("word level", tmp_path / "given")).save(tmp_path / "snapshot")
    settings = tmp_path / "snapshot" / "chomp_tokenizer.json"
    for content in ("[]", "{}", '{"kind": "byte", "byte_offset": null}', '{"kind": "file"}', "[" * 100_000):
        settings.write_text(content)
        with pytest.raises(CheckpointError, match=r"^the tokenizer snapshot .*/snapshot cannot be read: .*restore it"):
            load_tokenizer(tmp_path / "snapshot")
