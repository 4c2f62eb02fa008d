"""The tokenizer interface."""

import abc
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from chomp.errors import DataError

SETTINGS_FILE = "chomp_tokenizer.json"
"""Describes the snapshot folder: which kind of tokenizer, and every setting that changes ids."""

HIGHEST_ID = 1 << 24
"""No vocabulary has that many tokens; the model has a row for each id up to the highest."""

Ids = Int32[np.ndarray, " tokens"]


class Tokenizer(abc.ABC):
    """Text to token ids and back.

    Attributes:
        vocab_size: ids in use, special ids included.
        padded_vocab_size: `vocab_size` rounded up to `data.tokenizer.vocab_size_multiple`.
        pad_id, bos_id, eos_id: special ids; None where the tokenizer has none.
        add_bos, add_eos: whether `encode_document` adds them.
        notes: what a user should know of it before a run.
    """

    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    notes: tuple[str, ...] = ()

    def __init__(self, *, add_bos: bool, add_eos: bool, vocab_size_multiple: int):
        self.add_bos = add_bos
        self.add_eos = add_eos
        self._multiple = vocab_size_multiple

    @property
    def padded_vocab_size(self) -> int:
        """Rows the model's embedding needs."""
        return -(-self.vocab_size // self._multiple) * self._multiple

    def special_ids(self) -> dict[str, int | None]:
        """Padding, begin and end ids, by the names `pad`, `bos` and `eos`."""
        return {"pad": self.pad_id, "bos": self.bos_id, "eos": self.eos_id}

    @property
    def specials_per_document(self) -> int:
        """How many special ids `encode_document` adds to each document."""
        return self.add_bos + self.add_eos

    @abc.abstractmethod
    def encode(self, text: str) -> Ids:
        """Ids of the text alone; text that spells a special token stays text."""

    def encode_prompt(self, text: str) -> Ids:
        """Ids of a text to be continued: as a document with this beginning has them."""
        ids = self.encode(text)
        return np.concatenate([np.asarray([self.bos_id], np.int32), ids]) if self.add_bos else ids

    def encode_document(self, text: str) -> Ids:
        """Ids of a whole document, with the configured begin and end ids."""
        ids = self.encode_prompt(text)
        return np.concatenate([ids, np.asarray([self.eos_id], np.int32)]) if self.add_eos else ids

    @abc.abstractmethod
    def decode(self, ids: Any) -> str:
        """Text of the ids: special and unused ids are left out, invalid UTF-8 is replaced, nothing raises."""

    @abc.abstractmethod
    def byte_lengths(self) -> Int32[np.ndarray, " vocab"]:
        """Number of UTF-8 bytes of each id, `[padded_vocab_size]`; 0 for special and unused ids."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything beside `files` that changes ids, JSON-able, with the tokenizer's `kind`."""

    def files(self) -> dict[str, bytes]:
        """Files of a snapshot beside the settings, by name."""
        return {}

    def save(self, folder: Path) -> None:
        """Write a snapshot that `load_tokenizer` reads without the network; a reader never meets half of one."""
        settings = json.dumps(self.settings(), indent=2, sort_keys=True) + "\n"
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in {**self.files(), SETTINGS_FILE: settings.encode()}.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)

    def digest(self) -> str:
        """SHA-256 over everything that changes ids; equal before and after a snapshot."""
        return self._digest_with_files(self.settings())

    def vocabulary_digest(self) -> str:
        """SHA-256 over all that decides the ids of text; the tokenizer's origin and begin and end ids do not count."""
        return self._digest_with_files(self._vocabulary())

    def _digest_with_files(self, settings: dict[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name, content in sorted(self.files().items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def _vocabulary(self) -> dict[str, Any]:
        """Settings, beside `files`, that decide the ids of text."""
        return {}

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text alone, as `encode` gives them; in parallel where the tokenizer can."""
        return [self.encode(text) for text in texts]

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
