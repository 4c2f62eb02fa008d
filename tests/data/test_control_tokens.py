"""Text that spells a special token stays text in every model, and all other text keeps its ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.errors import DataError
from tests.conformance.test_exported_tokenizers import PLAIN, SPELLED
from tests.conformance.tokenizer_kinds import KINDS, write_kind


def build(path: Path, **settings: object) -> Tokenizer:
    return build_tokenizer(TokenizerConfig.model_validate({"kind": "file", "path": str(path), **settings}))


def save(backend: tokenizers.Tokenizer, path: Path, **roles: str) -> Path:
    backend.save(str(path))
    path.with_name("tokenizer_config.json").write_text(json.dumps(roles))
    return path


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["file", "hf"])
def test_no_text_yields_a_special_id(tmp_path: Path, name: str, kind: str) -> None:
    path = write_kind(name, tmp_path / "given")
    config = TokenizerConfig(kind="hf", hf_name_or_path=str(path.parent)) if kind == "hf" else TokenizerConfig(
        kind="file", path=str(path)
    )  # fmt: skip
    tokenizer = build_tokenizer(config)
    tokenizer.save(tmp_path / "snapshot")
    loaded = load_tokenizer(tmp_path / "snapshot")
    special = set(tokenizer.special_ids().values())
    assert len(special - {None}) == 3
    for text in SPELLED:
        ids = tokenizer.encode(text).tolist()
        assert special.isdisjoint(ids)
        assert loaded.encode(text).tolist() == ids
        assert tokenizer.encode_batch([text, text])[1].tolist() == ids
    assert loaded.digest() == tokenizer.digest()


@pytest.mark.parametrize("name", KINDS)
def test_other_text_has_the_ids_of_the_library(tmp_path: Path, name: str) -> None:
    path = write_kind(name, tmp_path)
    tokenizer, library = build(path), tokenizers.Tokenizer.from_file(str(path))
    library.encode_special_tokens = True
    for text in (*PLAIN, "< / s > <a> </ b> 0x41 unk pad s"):
        assert tokenizer.encode(text).tolist() == library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["a </s> fox", "x</s>y", "<pad>", "<0x41> <0x0A>", "<unk>"])
def test_the_text_comes_back(tmp_path: Path, text: str) -> None:
    tokenizer = build(write_kind("llama-like", tmp_path))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_word_that_contains_a_special_word_stays_whole(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"end": 0, "bend": 1, "ending": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = build(save(backend, tmp_path / "t.json", eos_token="end"))
    assert tokenizer.encode("bend end ending").tolist() == [1, 3, 3, 2]


def test_the_digest_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """A run keeps its tokenizer's digest, and a resume compares it."""
    tokenizer = build(write_kind("t5-like", tmp_path))
    assert set(tokenizer.settings()) == {
        "kind", "pad_id", "bos_id", "eos_id", "special", "add_bos", "add_eos", "vocab_size_multiple"
    }  # fmt: skip
    given = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.files() == {"tokenizer.json": given.to_str().encode()}


def test_chance_has_no_part(tmp_path: Path) -> None:
    path = write_kind("byte-level", tmp_path)
    parts = json.loads(path.read_text())
    parts["model"]["dropout"] = 0.5
    path.write_text(json.dumps(parts))
    tokenizer = build(path)
    assert len({tuple(tokenizer.encode("jumps over lazy dogs")) for _ in range(20)}) == 1


# Text that a tokenizer cannot express -----------------------------------------------------


def lacking_word_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel({"text": 0, "fox": 1, "</s>": 2}, unk_token="<none>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


def lacking_word_piece() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece({"text": 0, "fox": 1, "</s>": 2}, unk_token="<none>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


def lacking_unigram() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram([("</s>", 0.0), *((letter, -1.0) for letter in "texfo ")]))
    backend.decoder = decoders.Fuse()
    return backend


def lacking_bpe() -> tokenizers.Tokenizer:
    """A BPE of some letters, which leaves out all other text without a word."""
    return tokenizers.Tokenizer(models.BPE({letter: index for index, letter in enumerate("texfo ")} | {"</s>": 6}, []))


def lacking_bytes() -> tokenizers.Tokenizer:
    """A byte-level BPE that was trained without the whole alphabet."""
    backend = tokenizers.Tokenizer(models.BPE({letter: index for index, letter in enumerate("texfoĠ")}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


LACKING = (lacking_word_level, lacking_word_piece, lacking_unigram, lacking_bpe, lacking_bytes)


@pytest.mark.parametrize("make", LACKING)
def test_text_without_a_token(tmp_path: Path, make) -> None:
    backend = make()
    backend.add_special_tokens(["</s>"])
    path = save(backend, tmp_path / "t.json")
    tokenizer = build(path)
    assert tokenizer.notes == (
        f"the tokenizer {path} has no token for unknown text: text that its vocabulary lacks ends the run",
    )
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch(["text", text])):
        with pytest.raises(DataError) as caught:
            encode("text fox été fox")
        assert str(caught.value).startswith(f"the tokenizer {path} cannot encode 'é")
        assert str(caught.value).endswith(
            ": it has no token for unknown text; add one to the tokenizer, or take such text out"
        )
    tokenizer.save(tmp_path / "snapshot")
    loaded = load_tokenizer(tmp_path / "snapshot")
    assert loaded.digest() == tokenizer.digest()
    with pytest.raises(DataError, match=f"^the tokenizer {tmp_path}/snapshot/tokenizer.json cannot encode 'é"):
        loaded.encode("été")
    assert tokenizer.encode("text fox").tolist() == loaded.encode("text fox").tolist()
    assert max(tokenizer.encode("text fox")) < tokenizer.vocab_size


def test_a_snapshot_of_an_earlier_version_encodes_as_it_did(tmp_path: Path) -> None:
    """Its run resumes with the ids that it was trained on."""
    tokenizer = build(save(lacking_bpe(), tmp_path / "t.json", eos_token="</s>"))
    tokenizer.save(tmp_path / "snapshot")
    path = tmp_path / "snapshot" / "chomp_tokenizer.json"
    settings = json.loads(path.read_text())
    assert settings.pop("strict") is True
    path.write_text(json.dumps(settings))
    loaded = load_tokenizer(tmp_path / "snapshot")
    assert "strict" not in loaded.settings()
    np.testing.assert_array_equal(loaded.encode("té"), tokenizer.encode("t"))
    assert loaded.notes[0].endswith("text that its vocabulary lacks is left out")


def test_tokens_added_behind_a_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    backend = lacking_bpe()
    backend.add_tokens(["  ", "ox"])
    backend.add_special_tokens(["<pad>"])
    path = save(backend, tmp_path / "t.json", eos_token="</s>")
    assert build(path).encode("fox  t").tolist() == backend.encode("fox  t").ids


@pytest.mark.parametrize(
    ("vocab", "unknown", "roles", "text", "problem"),
    [
        (
            {"a": 0, ".": 1},
            None,
            {"eos_token": "."},
            "a.a",
            "'.': it is its end-of-text token; choose another token for that",
        ),
        (
            {"a": 0, "|": 1, "?": 2},
            "?",
            {"pad_token": "|"},
            "a|",
            "'|': it is its padding token; choose another token for that",
        ),
        (
            {"a": 0, "<e>": 1},
            "<e>",
            {"eos_token": "<e>"},
            "aä",
            "'ä': its token for unknown text is its end-of-text token; add one for unknown text",
        ),
    ],
)
def test_text_that_cannot_be_told_from_a_special_token(
    tmp_path: Path, vocab: dict[str, int], unknown: str | None, roles: dict[str, str], text: str, problem: str
) -> None:
    path = save(tokenizers.Tokenizer(models.BPE(vocab, [], unk_token=unknown)), tmp_path / "t.json", **roles)
    tokenizer = build(path, add_eos=False)
    assert tokenizer.encode("aa").tolist() == [0, 0]
    with pytest.raises(DataError) as caught:
        tokenizer.encode(text)
    assert str(caught.value) == f"the tokenizer {path} cannot encode {problem}"
