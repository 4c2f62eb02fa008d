"""Compares token files with the offset of the byte tokenizer that reads them."""

from pathlib import Path

import numpy as np

from chomp.config.data import DataConfig
from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.data.tokenfiles import IdFile, TokenFile, find_token_files
from chomp.data.tokenizer import Tokenizer

OFFSETS = (0, 3)
"""Of raw bytes, and the default of `data.tokenizer.byte_offset`."""
SAMPLE = 1 << 20
SPACES = [ord(" "), ord("\n")]
USUAL_SHARE, SMALL_PART = 0.05, 0.25
"""Text has at least this share of spaces; ids shifted by another offset have only a small part of it."""


def offset_notes(data: DataConfig, tokenizer: Tokenizer) -> tuple[str, ...]:
    """What to say of token files whose bytes have another offset than the byte tokenizer.

    Files of `chomp prepare-data` say which tokenizer wrote them; they are not looked at.
    """
    if data.backend != "tokens" or data.tokens_path is None or not isinstance(tokenizer, ByteTokenizer):
        return ()
    val = None if data.tokens_eval_path is None else Path(data.tokens_eval_path).expanduser()
    files = find_token_files(Path(data.tokens_path).expanduser(), data.tokens_dtype, val)
    if files.tokenizer is not None:
        return ()
    notes = (_note(file, tokenizer.vocab_size - 256) for file in (files.train, files.val) if file is not None)
    return tuple(note for note in notes if note is not None)


def _note(file: TokenFile, offset: int) -> str | None:
    ids = IdFile(file).read(0, SAMPLE).astype(np.int64)
    shares = {number: float(np.isin(ids - number, SPACES).mean()) for number in {offset, *OFFSETS}}
    likely = max(OFFSETS, key=shares.__getitem__)
    contradicts = shares[likely] >= USUAL_SHARE and shares[offset] < SMALL_PART * shares[likely]
    # One byte for each id has no room for the ids above 255 that an offset makes.
    if file.dtype == "uint8" and offset and shares[offset] <= shares[0]:
        contradicts, likely = True, 0
    if not contradicts:
        return None
    also = "" if likely else " and data.tokenizer.add_eos: false"
    return (
        f"the token file {file.path} ({file.dtype}) seems to hold bytes with the offset {likely}, but "
        f"data.tokenizer.byte_offset is {offset}, so that its text is read as other characters; set "
        f"data.tokenizer.byte_offset: {likely}{also}"
    )
