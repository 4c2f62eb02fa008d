"""Token files with their `metadata.json` and `.idx` files of document offsets.

`chomp prepare-data` writes a folder with `train.bin`, `val.bin`, an `.idx` beside each, `tokenizer.json` and, last,
`metadata.json`. Files of other programs are read too: a flat file; one with an `.idx` (int64,
little-endian, where each document begins and where the last one ends, counted in ids); a folder with `train.bin`,
`val.bin` and a `metadata.json` that names a `vocab_size`, from which the width of ids follows, or without one where
`data.tokens_dtype` names the width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chomp.config.misfits import first_misfit
from chomp.data.sources.formats import check_pointer
from chomp.errors import DataError
from chomp.record.json_text import parse_json

METADATA = "metadata.json"
FORMAT = "chomp-tokens"
VERSION = 1
TOKENIZER = "tokenizer.json"
UNFINISHED = ".unfinished"
OFFSET = np.dtype("<i8")
DTYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}

DtypeName = Literal["uint8", "uint16", "uint32"]
SplitName = Literal["train", "val"]


def narrowest(vocab_size: int) -> DtypeName:
    """The smallest integers that hold every id below `vocab_size`."""
    return "uint8" if vocab_size <= 1 << 8 else "uint16" if vocab_size <= 1 << 16 else "uint32"


class Count(BaseModel):
    """How much one file holds.

    Attributes:
        tokens: ids, end-of-text ids included.
        bytes: of UTF-8 text.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    documents: int = Field(default=0, ge=0)


class TokenizerFacts(BaseModel):
    """Which tokenizer wrote the ids: as `data.tokenizer` names it, and a hash of all that decides its ids."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["byte", "file"]
    digest: str
    eos_id: int | None
    byte_offset: int | None = None


class Metadata(BaseModel):
    """The `metadata.json` of `chomp prepare-data`.

    Attributes:
        vocab_size: every id is below it.
        source: fingerprint of the text.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["chomp-tokens"] = "chomp-tokens"
    version: Literal[1] = 1
    dtype: DtypeName
    vocab_size: int = Field(gt=0)
    tokenizer: TokenizerFacts
    train: Count
    val: Count
    source: dict[str, Any]


@dataclass(frozen=True)
class TokenFile:
    """One file of ids and its metadata.

    Attributes:
        offsets: its `.idx`, or None.
        counted: its size according to its metadata, or None.
    """

    path: Path
    dtype: DtypeName
    offsets: Path | None = None
    counted: Count | None = None


@dataclass(frozen=True)
class TokenFiles:
    """The files that `data.tokens_path` names.

    Attributes:
        val: the evaluation file, or None.
        tokenizer: the tokenizer that wrote them, if known.
    """

    train: TokenFile
    val: TokenFile | None = None
    tokenizer: TokenizerFacts | None = None
    vocab_size: int | None = None


def find_token_files(path: Path, dtype: str, val: Path | None = None) -> TokenFiles:
    """Find the token files at `path`.

    Args:
        path: a file, or a folder.
        dtype: a key of `DTYPES`, or "auto": as the metadata say; else bytes where there is an `.idx`, else uint32.
        val: a file of its own to evaluate on.

    Raises:
        DataError: a folder has no metadata and `dtype` is "auto", or it has invalid ones.
    """
    found = _in_folder(path, dtype) if path.is_dir() else _beside(path, dtype)
    if val is None:
        return found
    return TokenFiles(found.train, _beside(val, dtype).train, found.tokenizer, found.vocab_size)


def _beside(path: Path, dtype: str) -> TokenFiles:
    """A file, with the metadata of its folder if they describe it."""
    try:
        folder = _in_folder(path.parent, dtype) if (path.parent / METADATA).is_file() else None
    except DataError:
        # The metadata.json of another program; a token file that is named directly needs only ids.
        folder = None
    if folder is not None:
        for file in (folder.train, folder.val):
            if file is not None and file.path.name == path.name and folder.tokenizer is not None:
                return TokenFiles(file, None, folder.tokenizer, folder.vocab_size)
    offsets = path.with_suffix(".idx")
    has_offsets = offsets != path and offsets.is_file()
    width: Any = dtype if dtype != "auto" else "uint8" if has_offsets else "uint32"
    return TokenFiles(TokenFile(path, width, offsets if has_offsets else None))


def _in_folder(folder: Path, dtype: str) -> TokenFiles:
    place = folder / METADATA
    try:
        values = parse_json(place.read_bytes())
    except FileNotFoundError:
        return _bare(folder, dtype)
    except (OSError, ValueError) as error:
        raise DataError(f"{place} cannot be read: {error}") from None
    if isinstance(values, dict) and "format" in values:
        return _prepared(folder, values, dtype)
    return _foreign(folder, values, dtype)


def _bare(folder: Path, dtype: str) -> TokenFiles:
    """`train.bin` and `val.bin` of scripts that write no metadata."""
    train, val = folder / "train.bin", folder / "val.bin"
    index = train.with_suffix(".idx")
    is_whole = train.is_file() and not (folder / UNFINISHED).exists()
    if is_whole and dtype == "auto" and not index.is_file():
        raise DataError(
            f"{folder} has train.bin and no {METADATA}, which would name the id type; set data.tokens_dtype to uint16 "
            f"(nanoGPT's scripts), uint32 or uint8"
        )
    if not is_whole or (dtype == "auto" and not _counts_bytes(index, train)):
        raise DataError(
            f"{folder} has no {METADATA}: chomp prepare-data writes it last; run the command again, or "
            f"name a token file in data.tokens_path"
        )
    return TokenFiles(_beside(train, dtype).train, _beside(val, dtype).train if val.is_file() else None)


def _counts_bytes(index: Path, file: Path) -> bool:
    """Whether an offset index ends where a file of single bytes ends."""
    with index.open("rb") as offsets:
        offsets.seek(max(0, index.stat().st_size - OFFSET.itemsize))
        return int.from_bytes(offsets.read(), "little") == file.stat().st_size


def read_metadata(folder: Path) -> Metadata:
    """What `chomp prepare-data` wrote in `folder`.

    Raises:
        FileNotFoundError: there is no complete folder.
        DataError: it is not what chomp writes.
    """
    place = folder / METADATA
    try:
        return Metadata.model_validate_json(place.read_bytes())
    except ValidationError as error:
        raise DataError(f"{place} is invalid: {first_misfit(error, Metadata)}; prepare the data again") from None


def _prepared(folder: Path, values: dict[str, Any], dtype: str) -> TokenFiles:
    if values["format"] == FORMAT and values.get("version") != VERSION:
        raise DataError(f"{folder / METADATA} has version {values.get('version')}; this chomp reads version {VERSION}")
    said = read_metadata(folder)
    if dtype not in ("auto", said.dtype):
        raise DataError(f"{folder / METADATA} records {said.dtype} ids, but data.tokens_dtype is {dtype}")
    train, val = (
        TokenFile(folder / f"{name}.bin", said.dtype, folder / f"{name}.idx", count)
        for name, count in (("train", said.train), ("val", said.val))
    )
    return TokenFiles(train, val if said.val.documents else None, said.tokenizer, said.vocab_size)


def _foreign(folder: Path, values: Any, dtype: str) -> TokenFiles:
    """`train.bin` and `val.bin` of scripts like nanoGPT's; only the id width is read from their metadata."""
    size = values.get("vocab_size") if isinstance(values, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        size = None
    if size is None and dtype == "auto":
        raise DataError(
            f"{folder / METADATA} has no vocab_size, which determines the id type; set data.tokens_dtype to uint16 "
            f"(nanoGPT's scripts), uint32 or uint8"
        )
    # Those scripts write uint16 up to 65,535 and never bytes.
    width: Any = dtype if size is None or dtype != "auto" else "uint16" if size <= (1 << 16) - 1 else "uint32"
    val = folder / "val.bin"
    return TokenFiles(
        TokenFile(folder / "train.bin", width), TokenFile(val, width) if val.is_file() else None, vocab_size=size
    )


class IdFile:
    """The ids of a token file, read by position.

    Reads are copies, not a memory map: a file that is cut off meanwhile would end the process by a signal.

    Args:
        file: the file; its size is checked.

    Raises:
        DataError: it is missing, empty, a Git LFS pointer, of a size that holds no whole ids, or not as large as its
            metadata say.
    """

    def __init__(self, file: TokenFile):
        self.path, self.dtype = file.path, DTYPES[file.dtype]
        name, width = f"the token file {file.path}", self.dtype.itemsize
        try:
            self._file = file.path.open("rb", buffering=0)
            size = os.fstat(self._file.fileno()).st_size
            check_pointer(file.path, os.pread(self._file.fileno(), 64, 0))
        except OSError as error:
            raise DataError(f"cannot read {name}: {error.strerror}; check data.tokens_path") from None
        if size == 0:
            raise DataError(f"{name} is empty; check data.tokens_path")
        if size % width:
            raise DataError(
                f"{name} has {size} bytes, which is not a whole number of {file.dtype} ids of {width} bytes; check "
                f"data.tokens_dtype, or whether the file was cut off"
            )
        self._tokens = size // width
        if file.counted is not None and self._tokens != file.counted.tokens:
            raise DataError(
                f"{name} has {self._tokens:,} ids, but {file.path.with_name(METADATA)} says {file.counted.tokens:,}; "
                f"it was cut off or changed: prepare the data again"
            )

    def __len__(self) -> int:
        return self._tokens

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids from `start` up to `stop`, or up to the end.

        Raises:
            DataError: the file became shorter, or cannot be read.
        """
        width = self.dtype.itemsize
        wanted = (min(stop, self._tokens) - start) * width
        at = start * width
        parts: list[bytes] = []
        try:
            # One call reads at most 2 GiB.
            while wanted > 0 and (part := os.pread(self._file.fileno(), wanted, at)):
                parts.append(part)
                wanted, at = wanted - len(part), at + len(part)
        except OSError as error:
            raise DataError(f"cannot read the token file {self.path}: {error.strerror}") from None
        if wanted > 0:
            raise DataError(f"{self.path} became shorter while it was read; restore it, then resume the run")
        return np.frombuffer(b"".join(parts), self.dtype)


def read_offsets(path: Path, tokens: int) -> Int64[np.ndarray, " documents"]:
    """Where documents end, from an `.idx`, without empty documents.

    Args:
        tokens: ids in the file beside it.

    Raises:
        DataError: it is damaged, or of another file.
    """
    name = f"the offset index {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}") from None
    check_pointer(path, content)
    if len(content) % OFFSET.itemsize or len(content) < 2 * OFFSET.itemsize:
        raise DataError(f"{name} has {len(content)} bytes, which is not two or more offsets of 8 bytes")
    offsets = np.frombuffer(content, OFFSET).astype(np.int64)
    if offsets[0] != 0:
        raise DataError(f"{name} begins with {offsets[0]}, not with 0")
    backwards = np.flatnonzero(np.diff(offsets) < 0)
    if len(backwards):
        at = int(backwards[0]) + 1
        raise DataError(f"{name} is out of order: offset number {at} is {offsets[at]}, after {offsets[at - 1]}")
    if offsets[-1] != tokens:
        raise DataError(f"{name} ends at {offsets[-1]:,}, but the file beside it has {tokens:,} ids")
    return np.unique(offsets[1:][offsets[1:] > 0])
