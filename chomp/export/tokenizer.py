"""chomp's tokenizers as files that the `tokenizers` and `transformers` libraries read."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.data.fast_tokenizers import VOCABULARY_FILE
from chomp.data.tokenizer import Tokenizer
from chomp.data.vocabulary import named_roles

SPECIAL = ("<pad>", "<bos>", "<eos>")


def write_tokenizer(tokenizer: Tokenizer, folder: Path, *, longest: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`; both libraries give the ids that the model was trained on.

    Args:
        longest: tokens of a training row.
    """
    content = tokenizer_json(tokenizer)
    (folder / VOCABULARY_FILE).write_bytes(content)
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        **named_roles(content, tokenizer.special_ids()),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=1) + "\n")


def tokenizer_json(tokenizer: Tokenizer) -> bytes:
    """The content of a `tokenizer.json`."""
    return _byte_level(tokenizer) if isinstance(tokenizer, ByteTokenizer) else tokenizer.files()[VOCABULARY_FILE]


def _byte_level(tokenizer: ByteTokenizer) -> bytes:
    """Bytes as a byte-level vocabulary without merges: every byte is a token, spelled in that alphabet."""
    first = tokenizer.vocab_size - 256
    names = {name: index for index, name in enumerate(SPECIAL)} if first else {}
    vocabulary = {**names, **{spelling: first + byte for byte, spelling in byte_spellings().items()}}
    # Ids between the special ones and the bytes are unused, but a vocabulary must name them.
    vocabulary |= {f"<unused{index}>": index for index in range(len(names), first)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([tokenizers.AddedToken(name, special=True) for name in names])
    return backend.to_str().encode()


def byte_spellings() -> dict[int, str]:
    """The character of each byte in GPT-2's alphabet: the byte's own if printable, else one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {**{byte: chr(byte) for byte in seen}, **{byte: chr(256 + n) for n, byte in enumerate(hidden)}}
