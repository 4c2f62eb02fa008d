"""What can be read from a `tokenizer.json`: the bytes behind each id, and which ids are special."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from chomp.data.lfs import is_lfs_pointer, lfs_problem
from chomp.data.tokenizer import HIGHEST_ID
from chomp.errors import DataError
from chomp.record.json_text import parse_json

Parts = dict[str, Any]
"""A `tokenizer.json` as the library writes it."""

BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How SentencePiece-like vocabularies spell a single byte."""

ROLES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "bos": ("<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<|bos|>"),
    "eos": ("</s>", "<eos>", "[EOS]", "<|endoftext|>", "<|end_of_text|>", "<|eos|>"),
}
"""Usual spellings of special tokens, for a `tokenizer.json` that comes without a `tokenizer_config.json`."""


def pieces_of(parts: Parts) -> Iterator[tuple[str, int]]:
    """The model's tokens, as the model spells them, with their ids."""
    vocab = parts["model"]["vocab"]
    return (
        ((piece, index) for index, (piece, _) in enumerate(vocab)) if isinstance(vocab, list) else iter(vocab.items())
    )


def spellings(parts: Parts) -> dict[int, str]:
    """The spelling of each id; that of an added token is its content."""
    return {index: token for token, index in pieces_of(parts)} | {
        token["id"]: token["content"] for token in parts["added_tokens"]
    }


def id_problem(vocab: Mapping[str, int]) -> str | None:
    """What is wrong with the ids of a vocabulary, or None.

    The library lets two tokens share an id, and writes out every id up to the highest.
    """
    if not vocab:
        return "has no tokens"
    if (highest := max(vocab.values())) >= HIGHEST_ID:
        token = next(token for token, index in vocab.items() if index == highest)
        return f"has the id {highest:,} for {token!r}, but ids must be below {HIGHEST_ID:,}"
    seen: dict[int, str] = {}
    for token, index in vocab.items():
        if seen.setdefault(index, token) != token:
            return f"gives the id {index} to both {seen[index]!r} and {token!r}"
    return None


def special_ids(backend: tokenizers.Tokenizer, config_path: Path) -> dict[str, int | None]:
    """Padding, begin and end ids: as `tokenizer_config.json` names them, else by their usual spelling.

    Args:
        backend: the vocabulary.
        config_path: a `tokenizer_config.json` that may not exist.

    Raises:
        DataError: that file is damaged.
    """
    named = read_object(config_path) if config_path.is_file() else {}
    ids: dict[str, int | None] = {}
    for role, spellings_of_role in ROLES.items():
        token = named.get(f"{role}_token")
        if isinstance(token, dict):
            token = token.get("content")
        if not isinstance(token, str | None):
            raise DataError(f"{role}_token in {config_path} is {token!r}; write the text of a token, or null")
        candidates = (token,) if token is not None else spellings_of_role
        found = (backend.token_to_id(candidate) for candidate in candidates)
        ids[role] = next((index for index in found if index is not None), None)
    return ids


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        content = path.read_bytes()
        if is_lfs_pointer(content):
            raise DataError(lfs_problem(path))
        value = parse_json(content)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}; replace the file") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object; replace the file")
    return value


def named_roles(content: bytes, ids: Mapping[str, int | None]) -> dict[str, str]:
    """What a `tokenizer_config.json` says of special tokens, as `special_ids` reads it: their spelling by role.

    Args:
        content: the `tokenizer.json`.
        ids: padding, begin and end ids, as `special_ids` gives them.
    """
    spelled = spellings(json.loads(content))
    return {f"{role}_token": spelled[index] for role in ROLES if (index := ids[role]) is not None}


def can_cut_lines(parts: Parts) -> bool:
    """Whether encoding some lines and then the next gives the ids of encoding them together."""
    adds_space = '"add_prefix_space": true' in json.dumps(parts["pre_tokenizer"])
    return "ByteLevel" in component_types(parts["pre_tokenizer"]) and not adds_space and parts["normalizer"] is None


def component_types(part: Any) -> set[str]:
    """Types of a component and of the components in it."""
    if not isinstance(part, dict):
        return set()
    inner = part.get("pretokenizers") or part.get("decoders") or part.get("normalizers") or []
    return {part["type"]}.union(*map(component_types, inner))


def byte_lengths(parts: Parts, special: list[int], size: int) -> Int32[np.ndarray, " vocab"]:
    """Number of UTF-8 bytes of each id, `[size]`; 0 for special and unused ids.

    Exact for byte-level vocabularies. For SentencePiece-like ones `▁` counts as a space and `<0xAB>`
    as a byte; for WordPiece the continuation mark counts nothing and spaces are not counted at all.
    """
    byte_level = any("ByteLevel" in component_types(parts[part]) for part in ("pre_tokenizer", "decoder"))
    prefix = parts["model"].get("continuing_subword_prefix") or ""
    lengths = np.zeros(size, np.int32)
    for token, index in pieces_of(parts):
        if byte_level:
            lengths[index] = len(token)
        elif BYTE_TOKEN.fullmatch(token):
            lengths[index] = 1
        else:
            lengths[index] = len(token.removeprefix(prefix).replace("▁", " ").encode())
    for token in parts["added_tokens"]:
        lengths[token["id"]] = len(token["content"].encode())
    lengths[special] = 0
    return lengths
