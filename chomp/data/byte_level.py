"""Tokenizers as the content of a `tokenizer.json`; bytes as a byte-level vocabulary."""

import json

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from chomp.data.fast_tokenizers import VOCABULARY_FILE, FastTokenizer
from chomp.data.tokenizer import Tokenizer
from chomp.data.vocabulary import Parts

SPECIAL = ("<pad>", "<bos>", "<eos>")


def parts_of(tokenizer: Tokenizer) -> Parts:
    """The `tokenizer.json` as it was given, or one that names the ids of the byte tokenizer."""
    if isinstance(tokenizer, FastTokenizer):
        parts: Parts = json.loads(tokenizer.files()[VOCABULARY_FILE])
        return parts
    return byte_level(tokenizer)


def byte_level(tokenizer: Tokenizer) -> Parts:
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
    parts: Parts = json.loads(backend.to_str())
    return parts


def byte_spellings() -> dict[int, str]:
    """The character of each byte in GPT-2's alphabet: the byte's own if printable, else one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {**{byte: chr(byte) for byte in seen}, **{byte: chr(256 + n) for n, byte in enumerate(hidden)}}
