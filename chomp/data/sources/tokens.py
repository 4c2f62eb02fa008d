"""A flat file of token ids, memory-mapped."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chomp.config.data import DataConfig
from chomp.data.sources.base import RandomAccessSource, update_digest
from chomp.errors import ConfigError, DataError

DTYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
SCAN_TOKENS = 1 << 22
"""Ids looked at together: small enough for the processor's cache to help, large enough to read at disk speed."""
LONGEST_PIECE = 1 << 16
"""Tokens per document of a file without end-of-text ids."""
PIECES = 20
"""Into at least so many pieces such a file is cut, so that 5 % of it can be held out."""


class TokensSource(RandomAccessSource):
    """Documents between end-of-text ids, or fixed pieces of a file that has none.

    The whole file is looked through once when it is opened: for ids that the model does not have,
    and for where documents end.

    Args:
        path: the file.
        dtype: key of `DTYPES`.
        eos_id: id that ends a document and belongs to it; None if there is none.
        vocab_size: every id must be below this.

    Raises:
        DataError: the file is missing, empty, of a size that holds no whole ids, or holds an id out of range.
    """

    def __init__(self, path: Path, dtype: str, *, eos_id: int | None, vocab_size: int):
        self.name = f"the token file {path}"
        self._path = path
        self._dtype = DTYPES[dtype]
        width = self._dtype.itemsize
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {error.strerror}; check data.tokens_path") from None
        if size == 0:
            raise DataError(f"{self.name} is empty; check data.tokens_path")
        if size % width:
            raise DataError(
                f"{self.name} has {size} bytes, which is not a whole number of {dtype} ids of {width} bytes; check "
                f"data.tokens_dtype, or whether the file was cut off"
            )
        try:
            self._ids = np.memmap(path, self._dtype, mode="r")
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {error.strerror}; check data.tokens_path") from None
        ends = list(self._scan(eos_id, vocab_size))
        self._by_eos = bool(ends)
        self._ends = np.concatenate(ends) if ends else self._piece_ends()
        if self._ends[-1] != len(self._ids):
            self._ends = np.append(self._ends, len(self._ids))

    def _scan(self, eos_id: int | None, vocab_size: int) -> Iterator[np.ndarray]:
        """Check every id and yield the positions behind end-of-text ids."""
        for start in range(0, len(self._ids), SCAN_TOKENS):
            ids = self._ids[start : start + SCAN_TOKENS]
            if ids.max() >= vocab_size:
                position = start + int((ids >= vocab_size).argmax())
                raise DataError(
                    f"{self.name} holds id {self._ids[position]} at position {position}, but the model's vocabulary "
                    f"ends at {vocab_size - 1}; check data.tokens_dtype and data.tokenizer, or raise model.vocab_size"
                )
            if eos_id is not None:
                ends = np.flatnonzero(ids == eos_id)
                if len(ends):
                    yield ends + (start + 1)

    def _piece_ends(self) -> np.ndarray:
        piece = min(LONGEST_PIECE, max(1, len(self._ids) // PIECES))
        return np.arange(piece, len(self._ids) + piece, piece).clip(max=len(self._ids))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> np.ndarray:
        start = self._ends[index - 1] if index else 0
        return self._ids[start : self._ends[index]].astype(np.int32)

    def fingerprint(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        update_digest(digest, self._path)
        return {
            "backend": "tokens",
            "dtype": self._dtype.name,
            "tokens": len(self._ids),
            "documents": len(self),
            "divided": "end-of-text" if self._by_eos else "pieces",
            "digest": digest.hexdigest(),
        }

    def describe(self) -> str:
        parts = "documents" if self._by_eos else "pieces"
        return f"{self.name}: {len(self._ids):,} tokens in {len(self):,} {parts}"


def tokens_source(data: DataConfig, *, eos_id: int | None, vocab_size: int) -> TokensSource:
    """The source that `data.tokens_path` names.

    Raises:
        ConfigError: the path is missing.
        DataError: see `TokensSource`.
    """
    if data.tokens_path is None:
        raise ConfigError("data.tokens_path is missing: `data.backend: tokens` needs the file's path there")
    return TokensSource(Path(data.tokens_path).expanduser(), data.tokens_dtype, eos_id=eos_id, vocab_size=vocab_size)
