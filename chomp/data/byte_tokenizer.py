"""The tokenizer that needs no vocabulary: one id per UTF-8 byte."""

from typing import Any

import numpy as np
from jaxtyping import Int32

from chomp.data.tokenizer import Ids, Tokenizer, utf8


class ByteTokenizer(Tokenizer):
    """One id per UTF-8 byte, above the special ids 0 (padding), 1 (begin) and 2 (end); an offset of 0 leaves none.

    >>> ByteTokenizer(offset=3, add_bos=False, add_eos=True, vocab_size_multiple=128).encode_document("Hi")
    array([ 75, 108,   2], dtype=int32)
    """

    def __init__(self, *, offset: int, add_bos: bool, add_eos: bool, vocab_size_multiple: int):
        super().__init__(add_bos=add_bos, add_eos=add_eos, vocab_size_multiple=vocab_size_multiple)
        self._offset = offset
        self.pad_id, self.bos_id, self.eos_id = (0, 1, 2) if offset else (None, None, None)
        self.vocab_size = 256 + offset

    def encode(self, text: str) -> Ids:
        return np.add(np.frombuffer(utf8(text), np.uint8), self._offset, dtype=np.int32)

    def encode_document(self, text: str) -> Ids:
        # One allocation and one pass: this is the hot path of byte-level training.
        codes = np.frombuffer(utf8(text), np.uint8)
        ids = np.empty(len(codes) + self.specials_per_document, np.int32)
        np.add(codes, self._offset, out=ids[self.add_bos : self.add_bos + len(codes)], dtype=np.int32)
        if self.add_bos and self.bos_id is not None:
            ids[0] = self.bos_id
        if self.add_eos and self.eos_id is not None:
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

    def _vocabulary(self) -> dict[str, Any]:
        return {"byte_offset": self._offset}
