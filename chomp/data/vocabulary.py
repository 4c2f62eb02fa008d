"""What can be read from a `tokenizer.json`: the bytes behind each id, and which ids are special."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How SentencePiece-like vocabularies spell a single byte."""

ROLES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "bos": ("<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<|bos|>"),
    "eos": ("</s>", "<eos>", "[EOS]", "<|endoftext|>", "<|end_of_text|>", "<|eos|>"),
}
"""Usual spellings of special tokens, for a `tokenizer.json` that comes without a `tokenizer_config.json`."""


def special_ids(backend: tokenizers.Tokenizer, config_path: Path) -> dict[str, int | None]:
    """Padding, begin and end ids: as `tokenizer_config.json` names them, else by their usual spelling.

    Args:
        backend: the vocabulary.
        config_path: a `tokenizer_config.json` that may not exist.
    """
    named: dict[str, Any] = {}
    if config_path.is_file():
        named = json.loads(config_path.read_text("utf-8"))
    ids: dict[str, int | None] = {}
    for role, spellings in ROLES.items():
        token = named.get(f"{role}_token")
        if isinstance(token, dict):
            token = token.get("content")
        candidates = (token,) if isinstance(token, str) else spellings
        found = (backend.token_to_id(candidate) for candidate in candidates)
        ids[role] = next((index for index in found if index is not None), None)
    return ids


def named_roles(content: bytes, ids: Mapping[str, int | None]) -> dict[str, str]:
    """What a `tokenizer_config.json` says of special tokens, as `special_ids` reads it: their spelling by role.

    Args:
        content: the `tokenizer.json`; an id that it does not spell as an added token gets no role.
        ids: padding, begin and end ids, as `special_ids` gives them.
    """
    spelled = {token["id"]: token["content"] for token in json.loads(content)["added_tokens"]}
    return {f"{role}_token": spelled[ids[role]] for role in ROLES if ids[role] in spelled}


def is_byte_level(backend: tokenizers.Tokenizer) -> bool:
    """Whether tokens are spelled in the byte-level alphabet, one character a byte."""
    parts = json.loads(backend.to_str())
    return any("ByteLevel" in _types(parts[part]) for part in ("pre_tokenizer", "decoder"))


def can_cut_lines(backend: tokenizers.Tokenizer) -> bool:
    """Whether encoding some lines and then the next gives the ids of encoding them together."""
    parts = json.loads(backend.to_str())
    adds_space = '"add_prefix_space": true' in json.dumps(parts["pre_tokenizer"])
    return "ByteLevel" in _types(parts["pre_tokenizer"]) and not adds_space and parts["normalizer"] is None


def _types(part: Any) -> set[str]:
    """Types of a component and of the components in it."""
    if not isinstance(part, dict):
        return set()
    inner = part.get("pretokenizers") or part.get("decoders") or part.get("normalizers") or []
    return {part["type"]}.union(*map(_types, inner))


def byte_lengths(backend: tokenizers.Tokenizer, special: list[int], size: int) -> Int32[np.ndarray, " vocab"]:
    """Number of UTF-8 bytes of each id, `[size]`; 0 for special and unused ids.

    Exact for byte-level vocabularies. For SentencePiece-like ones `▁` counts as a space and `<0xAB>`
    as a byte; for WordPiece the continuation mark counts nothing and spaces are not counted at all.
    """
    byte_level = is_byte_level(backend)
    prefix = getattr(backend.model, "continuing_subword_prefix", None) or ""
    added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
    lengths = np.zeros(size, np.int32)
    for token, index in backend.get_vocab(with_added_tokens=True).items():
        if index in added:
            lengths[index] = len(added[index].encode())
        elif byte_level:
            lengths[index] = len(token)
        elif BYTE_TOKEN.fullmatch(token):
            lengths[index] = 1
        else:
            lengths[index] = len(token.removeprefix(prefix).replace("▁", " ").encode())
    lengths[special] = 0
    return lengths
