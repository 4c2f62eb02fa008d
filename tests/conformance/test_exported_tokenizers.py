"""An exported tokenizer encodes a prompt as training encoded a document, whichever the format and the reader."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, cast

import gguf
import jax
import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers
from transformers import AutoTokenizer

from chomp.config.data import TokenizerConfig
from chomp.config.load import parse_config
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.export.formats import export, unsupported_reason
from chomp.export.options import ExportOptions
from chomp.generate.load import TrainedModel
from chomp.model.build import build_model
from chomp.model.resolve import resolve_model
from chomp.record.rundir import RunDir
from tests.conformance.tokenizer_kinds import KINDS, write_kind

pytestmark = pytest.mark.pure

PLAIN = ("a fox jumps", "a", " a  fox ", "naïve café, 12 words", "two\nlines\n\n  and more", "日本", "")
SPELLED = ("a </s> fox", "<s>", "x</s>y</s>", "<pad><s/> <pad>", "<unk>", "<0x41> <0x0A>", "</s", "＜/s＞ </S>")
BYTES = {"bytes": 3, "bytes with unused ids": 7, "raw bytes": 0}
CASES = [(name, bos) for name in (*KINDS, *BYTES) for bos in (False, True) if (name, bos) != ("raw bytes", True)]
AS_GPT2 = {"byte-level", "byte-level with begin", *BYTES}
LLAMA = {"backend": "llama", "model_dim": 32, "num_layers": 1, "num_heads": 2, "ffn_hidden_dim": 32}
MEGALODON = {
    "model_dim": 32, "num_layers": 1, "num_heads": 1, "z_dim": 16, "value_dim": 32, "ffn_hidden_dim": 48,
    "cema_ndim": 4, "chunk_size": 16, "norm_num_groups": 4,
}  # fmt: skip
every_case = pytest.mark.parametrize(("name", "bos"), CASES)


def trained_tokenizer(name: str, bos: bool, folder: Path) -> Tokenizer:
    if name in BYTES:
        config = TokenizerConfig(byte_offset=BYTES[name], add_bos=bos, add_eos=BYTES[name] > 0)
    else:
        path = write_kind(name, folder / "given")
        config = TokenizerConfig(kind="file", path=str(path), add_bos=bos, vocab_size_multiple=8)
    return build_tokenizer(config)


def model_with(tokenizer: Tokenizer, folder: Path, architecture: dict[str, Any] = LLAMA) -> TrainedModel:
    """A model whose parameters are zeros."""
    config = parse_config(json.dumps({"model": architecture, "train": {"seq_len": 48}}), source="test").config
    config = config.model_copy(update={"model": resolve_model(config.model, tokenizer)})
    model_def = build_model(config.model)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model_def.abstract())
    return TrainedModel(RunDir(folder / "run"), cast(Any, None), config, tokenizer, model_def, params)


def drawn_texts(count: int) -> list[str]:
    """Texts that spell special tokens, or nearly."""
    chance = random.Random(0)
    parts = [
        "</s>",
        "<s>",
        "<pad>",
        "<",
        "/",
        "s",
        ">",
        "</",
        "<0x41>",
        "0x",
        "<u",
        "nk>",
        " ",
        "x",
        "é",
        "fox",
        "＜",
        "S",
    ]
    return ["".join(chance.choices(parts, k=chance.randint(1, 9))) for _ in range(count)]


@every_case
def test_folders_read_by_both_libraries(tmp_path: Path, name: str, bos: bool) -> None:
    tokenizer = trained_tokenizer(name, bos, tmp_path)
    out = tmp_path / "out"
    export(model_with(tokenizer, tmp_path), "hf", out, ExportOptions())
    reader = AutoTokenizer.from_pretrained(out)
    library = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    for text in PLAIN:
        expected = tokenizer.encode_prompt(text).tolist()
        assert expected[:bos] == [tokenizer.bos_id] * bos
        assert expected == tokenizer.encode_document(text)[: len(expected)].tolist()
        assert reader(text)["input_ids"] == library.encode(text).ids == expected
        assert reader(text, add_special_tokens=False)["input_ids"] == expected[bos:]
    # What a `tokenizer.json` cannot say: its reader has to say it.
    library.encode_special_tokens = True
    for text in (*SPELLED, *drawn_texts(200)):
        expected = tokenizer.encode_prompt(text).tolist()
        assert reader(text)["input_ids"] == library.encode(text).ids == expected
    roles = {"pad": reader.pad_token_id, "bos": reader.bos_token_id, "eos": reader.eos_token_id}
    assert roles == tokenizer.special_ids()
    described = json.loads((out / "tokenizer_config.json").read_text())
    assert (described["add_bos_token"], described["add_eos_token"]) == (bos, False)
    pair = reader("a fox", "jumps")["input_ids"]
    assert pair == [*tokenizer.encode_prompt("a fox"), *tokenizer.encode("jumps")]


@every_case
def test_a_file_for_llama_cpp(tmp_path: Path, name: str, bos: bool) -> None:
    tokenizer = trained_tokenizer(name, bos, tmp_path)
    model = model_with(tokenizer, tmp_path)
    reason = unsupported_reason("gguf", model.config, tokenizer, ExportOptions())
    assert (reason is None) == (name in AS_GPT2)
    if reason is not None:
        assert (
            reason
            == "gguf is written for tokenizers that encode text as GPT-2's does (byte-level), and this one does not"
        )
        return
    export(model, "gguf", tmp_path / "out", ExportOptions())
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    fields = {key.removeprefix("tokenizer.ggml."): field.contents() for key, field in reader.fields.items()}
    assert (fields["add_bos_token"], fields["add_eos_token"]) == (bos, False)
    assert (fields["model"], fields["pre"]) == ("gpt2", "gpt-2")
    names = {"pad": "padding_token_id", "bos": "bos_token_id", "eos": "eos_token_id"}
    for role, index in tokenizer.special_ids().items():
        assert fields.get(names[role]) == index
        assert index is None or fields["token_type"][index] == gguf.TokenType.CONTROL
    # Encoded as llama.cpp does without parsing special tokens: from the tokens and merges of the file alone.
    vocab = {token: index for index, token in enumerate(fields["tokens"])}
    merges = [tuple(merge.split(" ")) for merge in fields["merges"] if set(merge.split(" ")) <= vocab.keys()]
    merges = [merge for merge in merges if "".join(merge) in vocab]
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in (*PLAIN, *SPELLED):
        assert [tokenizer.bos_id] * bos + backend.encode(text).ids == tokenizer.encode_prompt(text).tolist()


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("hf", LLAMA),
        ("mhc", {**LLAMA, "residual_streams": 2}),
        ("megalodon-jax", MEGALODON),
        ("stablehlo", LLAMA),
        ("int8", LLAMA),
    ],
)
def test_every_format_has_the_same_tokenizer(tmp_path: Path, name: str, architecture: dict[str, Any]) -> None:
    tokenizer = trained_tokenizer("t5-like", True, tmp_path)
    out = tmp_path / "out"
    export(model_with(tokenizer, tmp_path, architecture), name, out, ExportOptions(measure=False))
    for text in (*PLAIN, *SPELLED):
        expected = tokenizer.encode_prompt(text).tolist()
        if name == "int8":
            assert load_tokenizer(out / "tokenizer").encode_prompt(text).tolist() == expected
        else:
            assert AutoTokenizer.from_pretrained(out)(text)["input_ids"] == expected


def test_a_folder_that_was_exported_is_the_same_tokenizer_again(tmp_path: Path) -> None:
    tokenizer = trained_tokenizer("t5-like", True, tmp_path)
    export(model_with(tokenizer, tmp_path), "hf", tmp_path / "out", ExportOptions())
    again = build_tokenizer(TokenizerConfig(kind="hf", hf_name_or_path=str(tmp_path / "out"), add_bos=True))
    for text in (*PLAIN, *SPELLED):
        np.testing.assert_array_equal(again.encode_document(text), tokenizer.encode_document(text))
    assert (
        json.loads(again.files()["tokenizer.json"])["pre_tokenizer"]
        == json.loads((tmp_path / "out" / "tokenizer.json").read_text())["pre_tokenizer"]
    )
