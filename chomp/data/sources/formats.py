"""Formats of text files: by their names, and checked against their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from chomp.data.lfs import is_lfs_pointer, lfs_problem
from chomp.errors import DataError

Format = Literal["text", "json", "csv", "parquet", "arrow"]

FORMATS: dict[str, Format] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".jsonlines": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""Suffixes of tables; a file of any other name is text."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes that are added to the name of a text, JSON or CSV file."""
REFUSED = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive; unpack it"),
    **dict.fromkeys((".lz4", ".br", ".z", ".lzma", ".sz"),
                    f"compressed in a way that chomp does not read; unpack it, or use {', '.join(COMPRESSED)}"),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".epub", ".xls", ".xlsx"), "a document; export its text"),
    **dict.fromkeys((".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".gguf", ".h5", ".bin"),
                    "binary; a file of token ids needs data.backend: tokens"),
    **dict.fromkeys((".sqlite", ".db", ".duckdb"), "a database; export its text as JSON lines"),
    ".avro": "Avro; write it as parquet",
    ".orc": "ORC; write it as parquet",
}  # fmt: skip
"""Suffixes of files that are never text, with what they are."""
CONTENTS = (
    (b"\x1f\x8b", "compressed by gzip; add .gz to its name"),
    (b"BZh", "compressed by bzip2; add .bz2 to its name"),
    (b"\xfd7zXZ\x00", "compressed by xz; add .xz to its name"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; add .zst to its name"),
    (b"\x04\x22\x4d\x18", "compressed by lz4; unpack it"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"PAR1", "parquet; name it .parquet"),
    (b"ARROW1", "an Arrow file; name it .arrow"),
    (b"FEA1", "Feather of version 1; write it as .parquet, or as Feather of version 2"),
    (b"%PDF-", "a PDF; export its text"),
    (b"SQLite format 3\x00", "a database; export its text as JSON lines"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x7fELF", "a program"),
)
"""First bytes of files that are not text, and what they are."""
UTF16 = "encoded as UTF-16; convert it, e.g. by iconv -f UTF-16 -t UTF-8"
HEAD = 1 << 12
"""Bytes that are looked at to recognise the content."""
LARGEST = 1 << 32
"""Bytes of a document, or of a JSON array, which are read as a whole."""


def split_suffix(path: Path) -> tuple[str, str | None]:
    """The suffix that names the format, in lower case, and that of a compression around it or None."""
    suffix = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), suffix) if suffix in COMPRESSED else (suffix, None)


def format_of(path: Path) -> Format:
    """The format that a file's name says.

    Raises:
        DataError: files of this name are never text, or not readable when compressed.
    """
    suffix, compression = split_suffix(path)
    if suffix in REFUSED:
        raise DataError(f"{path} is {REFUSED[suffix]}")
    found = FORMATS.get(suffix, "text")
    if compression and found in ("parquet", "arrow"):
        raise DataError(f"{path} is a compressed {found} file; unpack it ({found} files are compressed inside)")
    return found


def check_head(path: Path, head: bytes) -> None:
    """Recognise a content that is not text by its first bytes.

    Args:
        path: for the message.
        head: the first bytes, decompressed; at most `HEAD` are looked at.

    Raises:
        DataError: it is a Git LFS pointer, compressed, of another encoding, or binary.
    """
    head = head[:HEAD]
    check_pointer(path, head)
    for magic, what in CONTENTS:
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")
    zeros = head.count(0)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or _alternates(head):
        raise DataError(f"{path} is {UTF16}")
    # Text has next to no zero bytes; a few in a long file are a blemish of the text.
    if zeros > 0.01 * len(head) and zeros > 1:
        raise DataError(f"{path} is binary: {zeros} of its first {len(head):,} bytes are zero; leave it out")


def _alternates(head: bytes) -> bool:
    """Whether every second byte is zero, as in UTF-16 of Latin text."""
    return (
        len(head) >= 8
        and any(head[start::2].count(0) > 0.9 * len(head[start::2]) for start in (0, 1))
        and (head.count(0) < 0.6 * len(head))
    )


def check_pointer(path: Path, head: bytes) -> None:
    """Refuse what Git LFS leaves in place of a file that it has not fetched.

    Raises:
        DataError: these are the first bytes of such a pointer.
    """
    if is_lfs_pointer(head):
        raise DataError(lfs_problem(path))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the file system, a decompressor or Arrow raises into one sentence about the file.

    Raises:
        DataError: the file cannot be read, or is damaged.
    """
    # Arrow starts a thread when it is imported, which a program that reads only token files has no use for.
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"cannot read {path}: {os.strerror(error.errno)}; check its name and permissions") from None
        raise _damaged(path, error) from None
    except MemoryError:
        # A damaged size asks for any amount.
        raise DataError(f"{path} needs more memory than there is, or is damaged; replace it, or divide it") from None
    except (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: BaseException) -> DataError:
    reason = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    return DataError(f"{path} is damaged, or not what its name says: {reason}; replace it")


def read_head(path: Path, content: BinaryIO | None = None) -> bytes:
    """The first bytes of a file, decompressed; arguments as of `open_binary`."""
    with open_binary(path, content) as file:
        return file.read(HEAD)


def open_binary(path: Path, content: BinaryIO | None = None) -> BinaryIO:
    """Open a file for reading, decompressed as it is read if its name says that it is compressed.

    Args:
        path: the file.
        content: its bytes, to read them instead of the file.
    """
    raw = content if content is not None else path.open("rb")
    compression = split_suffix(path)[1]
    if compression is None:
        return raw
    if compression == ".zst":
        import pyarrow as pa

        return cast("BinaryIO", io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")))
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[compression]
    return cast("BinaryIO", opener(raw, "rb"))
