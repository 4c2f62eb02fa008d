"""The errors of bad text, and where the first invalid byte is."""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from chomp.errors import DataError

OnBadText = Literal["fail", "replace"]
CHUNK_BYTES = 1 << 20
MOST_NAMES, LONGEST_NAME = 20, 40
"""Of columns in a message, and the characters of one: a file of another kind has a line of text for a header."""


def not_utf8(path: Path | str, byte: int, offset: int) -> DataError:
    """The error for a byte that is not UTF-8."""
    return DataError(
        f"{path} is not valid UTF-8: byte 0x{byte:02x} at offset {offset}; convert the file, or set "
        f"data.on_bad_text: replace"
    )


def null_text(place: str, key: str) -> DataError:
    """The error for a row without text."""
    return DataError(
        f"{place} has no text: `{key}` is null or missing; remove the row, or set data.on_bad_text: replace to skip it"
    )


def no_column(name: Path | str, key: str, columns: Sequence[str]) -> DataError:
    """The error for data without the text column."""
    listed = [one if len(one) <= LONGEST_NAME else f"{one[:LONGEST_NAME]}…" for one in sorted(columns)[:MOST_NAMES]]
    more = f" and {len(columns) - MOST_NAMES:,} more" if len(columns) > MOST_NAMES else ""
    return DataError(
        f"{name} has no column `{key}`: its columns are {', '.join(listed)}{more}; set data.text_key to one of them"
    )


def not_text(place: str, key: str, kind: str) -> DataError:
    """The error for a text column of another type."""
    return DataError(f"{place}: column `{key}` holds {kind}, not text; set data.text_key to a column of text")


def half_surrogate(place: str, key: str) -> DataError:
    """The error for a text that no UTF-8 can express."""
    return DataError(
        f"{place}: `{key}` holds half of a surrogate pair, which is not valid Unicode; repair the row, or set "
        f"data.on_bad_text: replace"
    )


def find_bad_utf8(file: BinaryIO) -> tuple[int, int] | None:
    """The first byte that is not UTF-8 and its offset, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    base = 0
    while True:
        chunk = file.read(CHUNK_BYTES)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return error.object[error.start], base - pending + error.start
        if not chunk:
            return None
        base += len(chunk)
