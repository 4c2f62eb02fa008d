"""What a tokenizer must offer, the byte tokenizer, and building one from configuration or a snapshot."""

import abc
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from chomp.config.data import TokenizerConfig
from chomp.errors import CheckpointError, DataError

SETTINGS_FILE = "chomp_tokenizer.json"
"""Describes the snapshot folder: which kind of tokenizer, and every setting that changes ids."""

Ids = Int32[np.ndarray, " tokens"]


class Tokenizer(abc.ABC):
    """Text to token ids and back.

    Attributes:
        vocab_size: ids in use, special ids included.
        padded_vocab_size: `vocab_size` rounded up to `data.tokenizer.vocab_size_multiple`.
        pad_id, bos_id, eos_id: special ids; None where the tokenizer has none.
        add_bos, add_eos: whether `encode_document` adds them.
    """

    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None

    def __init__(self, *, add_bos: bool, add_eos: bool, vocab_size_multiple: int):
        self.add_bos = add_bos
        self.add_eos = add_eos
        self._multiple = vocab_size_multiple

    @property
    def padded_vocab_size(self) -> int:
        """Rows the model's embedding needs."""
        return -(-self.vocab_size // self._multiple) * self._multiple

    @property
    def specials_per_document(self) -> int:
        """How many special ids `encode_document` adds to each document."""
        return self.add_bos + self.add_eos

    @abc.abstractmethod
    def encode(self, text: str) -> Ids:
        """Ids of the text alone; text that spells a special token stays text."""

    def encode_document(self, text: str) -> Ids:
        """Ids of a whole document, with the begin and end ids that the configuration asks for."""
        ids = self.encode(text)
        before = [self.bos_id] if self.add_bos else []
        after = [self.eos_id] if self.add_eos else []
        if not before and not after:
            return ids
        return np.concatenate([np.asarray(before, np.int32), ids, np.asarray(after, np.int32)])

    @abc.abstractmethod
    def decode(self, ids: Any) -> str:
        """Text of the ids: special and unused ids are left out, invalid UTF-8 is replaced, nothing raises."""

    @abc.abstractmethod
    def byte_lengths(self) -> Int32[np.ndarray, " vocab"]:
        """UTF-8 bytes that each id stands for, `[padded_vocab_size]`; 0 for special and unused ids."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything beside `files` that changes ids, JSON-able, with the tokenizer's `kind`."""

    def files(self) -> dict[str, bytes]:
        """Files of a snapshot beside the settings, by name."""
        return {}

    def save(self, folder: Path) -> None:
        """Write a snapshot that `load_tokenizer` reads without the network."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
        (folder / SETTINGS_FILE).write_text(json.dumps(self.settings(), indent=2, sort_keys=True) + "\n", "utf-8")

    def digest(self) -> str:
        """SHA-256 over everything that changes ids; equal before and after a snapshot."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode())
        for name, content in sorted(self.files().items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def _common_settings(self) -> dict[str, Any]:
        return {"add_bos": self.add_bos, "add_eos": self.add_eos, "vocab_size_multiple": self._multiple}


def utf8(text: str) -> bytes:
    """The text as UTF-8.

    Raises:
        DataError: if it holds half of a surrogate pair, which no UTF-8 can express.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"text holds an unpaired surrogate U+{ord(text[error.start]):04X} at character {error.start}, which is "
            f"not valid Unicode; repair the text"
        ) from None


class ByteTokenizer(Tokenizer):
    """One id per UTF-8 byte, above the special ids 0 (padding), 1 (begin) and 2 (end).

    >>> ByteTokenizer(offset=3, add_bos=False, add_eos=True, vocab_size_multiple=128).encode_document("Hi")
    array([ 75, 108,   2], dtype=int32)
    """

    pad_id = 0
    bos_id = 1
    eos_id = 2

    def __init__(self, *, offset: int, add_bos: bool, add_eos: bool, vocab_size_multiple: int):
        super().__init__(add_bos=add_bos, add_eos=add_eos, vocab_size_multiple=vocab_size_multiple)
        self._offset = offset
        self.vocab_size = 256 + offset

    def encode(self, text: str) -> Ids:
        return np.add(np.frombuffer(utf8(text), np.uint8), self._offset, dtype=np.int32)

    def encode_document(self, text: str) -> Ids:
        # One allocation and one pass: this is the hot path of byte-level training.
        codes = np.frombuffer(utf8(text), np.uint8)
        ids = np.empty(len(codes) + self.specials_per_document, np.int32)
        np.add(codes, self._offset, out=ids[self.add_bos : self.add_bos + len(codes)], dtype=np.int32)
        if self.add_bos:
            ids[0] = self.bos_id
        if self.add_eos:
            ids[-1] = self.eos_id
        return ids

    def decode(self, ids: Any) -> str:
        codes = np.asarray(ids, np.int64).reshape(-1) - self._offset
        return codes[(codes >= 0) & (codes < 256)].astype(np.uint8).tobytes().decode("utf-8", "replace")

    def byte_lengths(self) -> Int32[np.ndarray, " vocab"]:
        lengths = np.zeros(self.padded_vocab_size, np.int32)
        lengths[self._offset : self.vocab_size] = 1
        return lengths

    def settings(self) -> dict[str, Any]:
        return {"kind": "byte", "byte_offset": self._offset, **self._common_settings()}


def build_tokenizer(config: TokenizerConfig, snapshot: Path | None = None) -> Tokenizer:
    """The configured tokenizer, or the snapshot's if one is given.

    Raises:
        ConfigError: the section asks for what the tokenizer does not have.
        DataError: the tokenizer cannot be found, reached or read.
        CheckpointError: the snapshot is missing or damaged.
    """
    if snapshot is not None:
        return load_tokenizer(snapshot)
    if config.kind == "byte":
        return ByteTokenizer(
            offset=config.byte_offset,
            add_bos=config.add_bos,
            add_eos=config.add_eos,
            vocab_size_multiple=config.vocab_size_multiple,
        )
    from chomp.data.fast_tokenizers import tokenizer_from_file, tokenizer_from_hub

    return tokenizer_from_hub(config) if config.kind == "hf" else tokenizer_from_file(config)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
        CheckpointError: the folder or a file in it is missing or damaged.
    """
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(path.read_text("utf-8"))
        if settings["kind"] == "byte":
            del settings["kind"]
            settings["offset"] = settings.pop("byte_offset")
            return ByteTokenizer(**settings)
        from chomp.data.fast_tokenizers import FastTokenizer

        return FastTokenizer.from_snapshot(folder, settings)
    except FileNotFoundError as error:
        raise CheckpointError(f"the tokenizer snapshot {folder} has no {Path(error.filename).name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the tokenizer snapshot {folder} cannot be read ({type(error).__name__}: {error}); restore it from a copy "
            f"of the run"
        ) from error
