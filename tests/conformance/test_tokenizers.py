"""What every kind of tokenizer must do."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizers import build_tokenizer, load_tokenizer
from chomp.errors import CheckpointError, ConfigError, DataError
from chomp.generate.sampling import encode_prompt

TEXTS = (
    "",
    " ",
    "def f(x):\n    return x\n",
    "naïve café — 日本語 🎉",
    "<|endoftext|> is only text here, and so is <pad>",
    "line\r\nline\n\n\n  indented\ttab",
    "\x00\x7f\u200b",
)
SPECIALS = ["<|endoftext|>", "<pad>", "<s>"]


def byte_level_bpe() -> tokenizers.Tokenizer:
    """The smallest vocabulary of GPT-2's kind that has merges."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["def return self naïve 日本語 the line line line indented\n    "] * 20, trainer)
    # Settings that some published files carry and that must not reach training text.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    return tokenizer


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_level_bpe().save(str(folder / "tokenizer.json"))
    names = {
        "eos_token": "<|endoftext|>",
        "bos_token": "<s>",
        "pad_token": {"__type": "AddedToken", "content": "<pad>"},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    return folder


@pytest.fixture(params=["byte", "hf", "file"])
def build(request, vocabulary) -> Callable:
    def make(**settings):
        places = {"hf": {"hf_name_or_path": str(vocabulary)}, "file": {"path": str(vocabulary / "tokenizer.json")}}
        return build_tokenizer(TokenizerConfig(kind=request.param, **places.get(request.param, {}), **settings))

    return make


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_the_round_trip(build, text):
    tokenizer = build()
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert tokenizer.decode(ids) == text


def test_long_text_is_neither_cut_nor_padded(build):
    tokenizer = build()
    text = "def f(x): return 日本 " * 50
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("a")) == 1


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
def test_documents_get_the_configured_special_ids(build, bos, eos):
    tokenizer = build(add_bos=bos, add_eos=eos)
    for text in TEXTS:
        expected = [tokenizer.bos_id] * bos + tokenizer.encode(text).tolist() + [tokenizer.eos_id] * eos
        ids = tokenizer.encode_document(text)
        assert ids.tolist() == expected
        assert list(encode_prompt(tokenizer, text)) == (expected[: len(expected) - eos] or [tokenizer.bos_id])
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == text
    assert tokenizer.specials_per_document == bos + eos


def test_text_never_yields_a_special_id(build):
    tokenizer = build()
    specials = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    assert None not in specials
    assert len(specials) == 3
    assert all(specials.isdisjoint(tokenizer.encode(text).tolist()) for text in TEXTS)


def test_ids_fit_the_vocabulary(build):
    tokenizer = build(vocab_size_multiple=64)
    assert tokenizer.padded_vocab_size % 64 == 0
    assert 0 <= tokenizer.padded_vocab_size - tokenizer.vocab_size < 64
    assert max(tokenizer.encode(text).max(initial=0) for text in TEXTS) < tokenizer.vocab_size
    assert max(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) < tokenizer.vocab_size


def test_byte_lengths_add_up_to_the_text(build):
    tokenizer = build()
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.padded_vocab_size,)
    assert lengths.dtype == np.int32
    for text in TEXTS:
        assert lengths[tokenizer.encode_document(text)].sum() == len(text.encode())
    assert lengths[[tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id]].sum() == 0
    assert lengths[tokenizer.vocab_size :].sum() == 0


def test_decoding_never_raises(build):
    tokenizer = build()
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert isinstance(tokenizer.decode(rng.integers(-5, tokenizer.padded_vocab_size + 1000, 40)), str)
    assert "\ufffd" in tokenizer.decode(tokenizer.encode("日")[:-1])
    assert tokenizer.decode([]) == ""


def test_a_snapshot_is_the_same_tokenizer(build, tmp_path):
    tokenizer = build(add_bos=True, vocab_size_multiple=32)
    tokenizer.save(tmp_path / "snapshot")
    loaded = load_tokenizer(tmp_path / "snapshot")
    assert loaded.digest() == tokenizer.digest()
    assert build_tokenizer(TokenizerConfig(), snapshot=tmp_path / "snapshot").digest() == tokenizer.digest()
    for text in TEXTS:
        assert loaded.encode_document(text).tolist() == tokenizer.encode_document(text).tolist()
    assert loaded.padded_vocab_size == tokenizer.padded_vocab_size
    assert (loaded.byte_lengths() == tokenizer.byte_lengths()).all()
    assert (loaded.pad_id, loaded.bos_id, loaded.eos_id) == (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)


def test_the_digest_tells_settings_apart(build):
    assert build().digest() == build().digest()
    assert len({build().digest(), build(add_bos=True).digest(), build(add_eos=False).digest()}) == 3


def test_a_damaged_snapshot_is_refused(build, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value) == f"the tokenizer snapshot {tmp_path} has no chomp_tokenizer.json"
    build().save(tmp_path)
    for path in tmp_path.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match=f"^the tokenizer snapshot {tmp_path} cannot be read"):
            load_tokenizer(tmp_path)
        path.write_bytes(whole)
    load_tokenizer(tmp_path)


def test_half_a_surrogate_pair_is_refused(build):
    with pytest.raises(DataError, match="unpaired surrogate U\\+D83D at character 1"):
        build().encode("a\ud83d")


def test_a_vocabulary_without_end_of_text(tmp_path):
    tokenizer = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with pytest.raises(ConfigError) as caught:
        build_tokenizer(TokenizerConfig(kind="file", path=str(path)))
    assert str(caught.value) == (
        f"the tokenizer {path} has no end-of-text token, but data.tokenizer.add_eos is true; set it to false or add "
        f"the token to the tokenizer"
    )
    plain = build_tokenizer(TokenizerConfig(kind="file", path=str(path), add_eos=False))
    assert (plain.pad_id, plain.bos_id, plain.eos_id) == (None, None, None)
    assert plain.encode_document("aa").tolist() == [0, 0]


def test_files_that_are_no_tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DataError) as caught:
        build_tokenizer(TokenizerConfig(kind="file", path=str(path)))
    assert str(caught.value) == (
        f"cannot read the tokenizer {path}: No such file or directory; check data.tokenizer.path"
    )
    for content in ("{", "{}", '{"model": 3}'):
        path.write_text(content)
        with pytest.raises(DataError, match=f"^{path} is not a tokenizer.json: "):
            build_tokenizer(TokenizerConfig(kind="file", path=str(path)))


def test_hub_tokenizers_that_cannot_be_had(tmp_path):
    with pytest.raises(DataError) as caught:
        build_tokenizer(TokenizerConfig(kind="hf", hf_name_or_path="./nowhere"))
    assert str(caught.value) == ("the tokenizer folder ./nowhere does not exist; check data.tokenizer.hf_name_or_path")
    with pytest.raises(DataError, match=f"^cannot load the tokenizer {tmp_path}: "):
        build_tokenizer(TokenizerConfig(kind="hf", hf_name_or_path=str(tmp_path)))


def test_long_text_is_encoded_piece_by_piece_into_the_same_ids(vocabulary, monkeypatch):
    tokenizer = build_tokenizer(TokenizerConfig(kind="file", path=str(vocabulary / "tokenizer.json")))
    rng = np.random.default_rng(1)
    words = ["def", "return", "\n", "\n\n", "  ", "\n    ", "日本", "line", ".", "123", "\r\n", "\t", "'s"]
    text = "".join(words[index] for index in rng.integers(0, len(words), 4000))
    whole = tokenizer.encode(text).tolist()
    monkeypatch.setattr("chomp.data.fast_tokenizers.LONG_TEXT", 100)
    monkeypatch.setattr("chomp.data.fast_tokenizers.PIECE", 40)
    monkeypatch.setattr("chomp.data.fast_tokenizers.PIECES_AT_ONCE", 5)
    assert tokenizer.encode(text).tolist() == whole


def test_byte_lengths_of_sentencepiece_like_vocabularies(tmp_path):
    tokens = ["<unk>", "</s>", "<0xE6>", "▁the", "é", "▁"]
    model = models.BPE({token: index for index, token in enumerate(tokens)}, [], byte_fallback=True, unk_token="<unk>")
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    backend.add_special_tokens(["<unk>", "</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = build_tokenizer(
        TokenizerConfig(kind="file", path=str(tmp_path / "tokenizer.json"), vocab_size_multiple=8)
    )
    assert tokenizer.byte_lengths().tolist() == [0, 0, 1, 4, 2, 1, 0, 0]
