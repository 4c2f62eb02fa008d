"""Token files of bytes that the byte tokenizer reads with another offset are named before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chomp.config.data import DataConfig, TokenizerConfig
from chomp.data.byte_offset import offset_notes
from chomp.data.tokenizers import build_tokenizer

TEXT = np.frombuffer(b"Some text with spaces,\nand lines. # A comment.\n" * 40, np.uint8)


@pytest.mark.parametrize(
    ("written", "dtype", "offset", "likely"),
    [
        (0, "uint8", 3, 0),
        (0, "uint32", 3, 0),
        (0, "uint16", 7, 0),
        (3, "uint32", 0, 3),
        (3, "uint16", 7, 3),
        (0, "uint8", 0, None),
        (3, "uint8", 3, None),
        (3, "uint32", 3, None),
        (0, "uint32", 0, None),
        (7, "uint32", 7, None),
    ],
)
def test_the_note_names_the_file_and_both_offsets(
    tmp_path: Path, written: int, dtype: str, offset: int, likely: int | None
) -> None:
    path = tmp_path / "x.bin"
    (TEXT + np.uint32(written)).astype(np.dtype(dtype).newbyteorder("<")).tofile(path)
    data = DataConfig.model_validate({"backend": "tokens", "tokens_path": str(path), "tokens_dtype": dtype})
    notes = offset_notes(data, build_tokenizer(TokenizerConfig(byte_offset=offset, add_eos=False)))
    if likely is None:
        assert notes == ()
        return
    (note,) = notes
    assert note.startswith(
        f"the token file {path} ({dtype}) seems to hold bytes with the offset {likely}, but data.tokenizer.byte_offset "
        f"is {offset},"
    )
    assert ("add_eos: false" in note) == (likely == 0)


def test_bytes_that_are_no_text_have_no_offset(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)) * 8)
    np.asarray([0, 2048], "<i8").tofile(path.with_suffix(".idx"))
    data = DataConfig(backend="tokens", tokens_path=str(path))
    assert len(offset_notes(data, build_tokenizer(TokenizerConfig()))) == 1
    assert offset_notes(data, build_tokenizer(TokenizerConfig(byte_offset=0, add_eos=False))) == ()
    assert offset_notes(DataConfig(), build_tokenizer(TokenizerConfig())) == ()
