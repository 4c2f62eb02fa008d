"""`backend: tokens`: files of token ids, read by position."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chomp.config.data import DataConfig
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import RandomAccessSource, update_digest
from chomp.data.sources.build import Text, divide, set_aside
from chomp.data.sources.watched import WatchedFiles
from chomp.data.tokenfiles import IdFile, TokenFile, TokenFiles, find_token_files, read_offsets
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError

SCAN_TOKENS = 1 << 22
"""Ids scanned at once: small enough for the processor's cache to help, large enough to read at disk speed."""
LONGEST_PIECE = 1 << 16
"""Tokens per document of a file without end-of-text ids."""
PIECES = 20
"""Minimum number of pieces of such a file, so that 5 % of it can be held out."""


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open what `data.tokens_path` names, with its evaluation file where it has one."""
    train, evaluation = token_sources(data, tokenizer, vocab_size)
    if evaluation is None:
        return divide(train, data)
    return set_aside(train, evaluation, data, rule="file", digest=evaluation.fingerprint()["digest"])


class TokensSource(RandomAccessSource):
    """Documents as an offset index names them, else between end-of-text ids, else fixed pieces of the file.

    The whole file is looked through once when it is opened: for ids that the model does not have,
    and, without an index, for where documents end.

    Args:
        file: the file and what is known of it.
        eos_id: id that ends a document and belongs to it; None if there is none.
        vocab_size: every id must be below this.

    Raises:
        DataError: the file is missing, empty, of a size that holds no whole ids, holds an id out of range, or is not
            what its index or its metadata say.
    """

    is_tokenized = True

    def __init__(self, file: TokenFile, *, eos_id: int | None, vocab_size: int):
        self.name = f"the token file {file.path}"
        self._file = file
        self._ids = IdFile(file)
        self._watched = WatchedFiles([path for path in (file.path, file.offsets) if path is not None])
        if file.offsets is not None:
            self._divided = "offsets"
            self._ends = read_offsets(file.offsets, len(self._ids))
            if file.counted is not None and len(self._ends) != file.counted.documents:
                raise DataError(
                    f"the offset index {file.offsets} has {len(self._ends):,} documents, but the metadata beside it "
                    f"say {file.counted.documents:,}; prepare the data again"
                )
            for _ in self._scan(None, vocab_size):
                pass
            return
        ends = list(self._scan(eos_id, vocab_size))
        self._divided = "end-of-text" if ends else "pieces"
        self._ends = np.concatenate(ends) if ends else self._piece_ends()
        if self._ends[-1] != len(self._ids):
            self._ends = np.append(self._ends, len(self._ids))

    def _scan(self, eos_id: int | None, vocab_size: int) -> Iterator[np.ndarray]:
        """Check every id and yield the positions behind end-of-text ids."""
        for start in range(0, len(self._ids), SCAN_TOKENS):
            ids = self._ids.read(start, start + SCAN_TOKENS)
            if ids.max() >= vocab_size:
                position = start + int((ids >= vocab_size).argmax())
                raise DataError(
                    f"{self.name} holds id {ids[position - start]} at position {position}, but the model's vocabulary "
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
        self._watched.check()
        return self._ids.read(int(start), int(self._ends[index])).astype(np.int32)

    def places(self, positions: Sequence[int]) -> list[str]:
        begins = (int(self._ends[position - 1]) if position else 0 for position in positions)
        return [
            f"{self._file.path}, document {position + 1:,} (from token {begin:,})"
            for position, begin in zip(positions, begins, strict=True)
        ]

    def fingerprint(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        update_digest(digest, self._file.path)
        if self._file.offsets is not None:
            update_digest(digest, self._file.offsets)
        return {
            "backend": "tokens",
            "dtype": self._file.dtype,
            "tokens": len(self._ids),
            "documents": len(self),
            "divided": self._divided,
            "digest": digest.hexdigest(),
            "content": self._watched.digest(),
        }

    def describe(self) -> str:
        parts = "pieces" if self._divided == "pieces" else "documents"
        return f"{self.name}: {len(self._ids):,} tokens in {len(self):,} {parts}"


def token_sources(
    data: DataConfig, tokenizer: Tokenizer, vocab_size: int
) -> tuple[TokensSource, RandomAccessSource | None]:
    """What `data.tokens_path` names: to train on, and to evaluate on if that is a file of its own.

    Raises:
        ConfigError: the path is missing.
        DataError: see `find_token_files` and `TokensSource`; or another tokenizer wrote the files.
    """
    if data.tokens_path is None:
        raise ConfigError("data.tokens_path is missing: `data.backend: tokens` needs the path of a file")
    val = None if data.tokens_eval_path is None else Path(data.tokens_eval_path).expanduser()
    files = find_token_files(Path(data.tokens_path).expanduser(), data.tokens_dtype, val)
    _require_tokenizer(files, tokenizer)
    train, evaluation = (
        None if file is None else TokensSource(file, eos_id=tokenizer.eos_id, vocab_size=vocab_size)
        for file in (files.train, files.val)
    )
    assert train is not None
    return train, evaluation


def _require_tokenizer(files: TokenFiles, tokenizer: Tokenizer) -> None:
    if files.tokenizer is None or files.tokenizer.digest == tokenizer.vocabulary_digest():
        return
    folder = files.train.path.parent
    if files.tokenizer.kind == "byte":
        advice = f"data.tokenizer.kind: byte and data.tokenizer.byte_offset: {files.tokenizer.byte_offset}"
    else:
        advice = f"data.tokenizer.kind: file and data.tokenizer.path: {folder / 'tokenizer.json'}"
    raise DataError(f"{files.train.path} was written with another tokenizer than data.tokenizer names; set {advice}")
