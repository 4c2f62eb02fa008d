"""Small tokenizers of every kind, as `tokenizer.json` with the `tokenizer_config.json` that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = ["a fox jumps over lazy dogs and then a fox rests", "Text of naïve words, 12 in all: café?"] * 20
BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"
SPECIAL = [PAD, BOS, EOS, UNK]


def begun(backend: tokenizers.Tokenizer, template: str) -> tokenizers.Tokenizer:
    """The tokenizer with what its authors put around text."""
    specials = [(token, backend.token_to_id(token)) for token in (BOS, EOS) if token in template]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
    return backend


def byte_level() -> tokenizers.Tokenizer:
    """GPT-2's kind: its processor puts nothing around text."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return backend


def byte_level_with_begin() -> tokenizers.Tokenizer:
    """Llama 3's kind."""
    return begun(byte_level(), f"{BOS} $A")


def merged_special() -> tokenizers.Tokenizer:
    """A BPE whose merges reach a special token, over text that is not split into words."""
    letters = sorted({*"".join(CORPUS), "<", "/", ">", "▁"} - {" "})
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    vocab = {
        token: index for index, token in enumerate([*SPECIAL, *letters, *("".join(m) for m in merges if m[1] != ">")])
    }
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(SPECIAL)
    return begun(backend, f"{BOS} $A {EOS}")


def unigram(special: list[str], *, byte_fallback: bool = False) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token=UNK, show_progress=False)
    backend.train_from_iterator([*CORPUS, "<s/> 0x41"], trainer)
    if byte_fallback:
        model = json.loads(backend.to_str())["model"]
        vocab = [tuple(entry) for entry in model["vocab"]]
        vocab += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
        backend.model = models.Unigram(vocab, unk_id=model["unk_id"], byte_fallback=True)
    return backend


def t5_like() -> tokenizers.Tokenizer:
    """The end id behind every text."""
    return begun(unigram([PAD, EOS, UNK, BOS]), f"$A {EOS}")


def llama_like() -> tokenizers.Tokenizer:
    return begun(unigram([UNK, BOS, EOS, PAD], byte_fallback=True), f"{BOS} $A")


def word_piece() -> tokenizers.Tokenizer:
    """BERT's kind, splitting at spaces only, so that `</s>` is a word."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token=UNK))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator([*CORPUS, "< / s > <s"], trainer)
    return begun(backend, f"{BOS} $A {EOS}")


def word_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.train_from_iterator(
        [*CORPUS, "< /s>"], trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    )
    return begun(backend, f"{BOS} $A")


def word_level_unmarked() -> tokenizers.Tokenizer:
    """Special tokens that are ordinary words of the vocabulary; only `tokenizer_config.json` names them."""
    words = [*SPECIAL, "<", "/s>", *sorted(set(" ".join(CORPUS).split()))]
    backend = tokenizers.Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Not marked special: the library looks for it in text all the same.
    backend.add_tokens([tokenizers.AddedToken(PAD, special=False)])
    return backend


KINDS: Mapping[str, Callable[[], tokenizers.Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level with begin": byte_level_with_begin,
    "merged special": merged_special,
    "t5-like": t5_like,
    "llama-like": llama_like,
    "word piece": word_piece,
    "word level": word_level,
    "word level, unmarked": word_level_unmarked,
}


def write_kind(name: str, folder: Path) -> Path:
    """Write a tokenizer's two files into a folder; the path of its `tokenizer.json`."""
    folder.mkdir(exist_ok=True)
    path = folder / "tokenizer.json"
    KINDS[name]().save(str(path))
    roles = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, "add_eos_token": True, **roles}
        )
    )
    return path
