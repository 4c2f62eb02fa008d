"""Tokenizers of the `tokenizers` library."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from chomp.data.control_tokens import (
    TextEncoder,
    covers_all_text,
    from_parts,
    keep_out_of_text,
    unknown_id,
    with_unknown,
)
from chomp.data.library_errors import translated
from chomp.data.tokenizer import HIGHEST_ID, Ids, Tokenizer, utf8
from chomp.data.vocabulary import Parts, byte_lengths, can_cut_lines
from chomp.errors import DataError

VOCABULARY_FILE = "tokenizer.json"
LONG_TEXT = 1 << 20
"""Characters above which text of a byte-level tokenizer is encoded piece by piece, in parallel."""
PIECE = 1 << 16
"""Characters of such a piece, about."""
PIECES_AT_ONCE = 64
"""Bounds the memory of encodings, which is many times that of their ids."""
LINE_START = re.compile(r"(?<=\S\n)(?=[A-Za-z0-9])")
"""Where cutting changes no id: byte-level splitting never joins a single newline with a letter or digit after it."""
SHOWN = 40
"""Characters of text that a message shows."""
ROLE_WORDS = {"pad": "padding", "bos": "begin-of-text", "eos": "end-of-text"}
ENDS = "ends the run"
NO_UNKNOWN = "it has no token for unknown text; add one to the tokenizer, or take such text out"


class FastTokenizer(Tokenizer):
    """A `tokenizers.Tokenizer` with known special ids.

    Args:
        backend: truncation and padding are switched off, special tokens spelled in text stay text.
        name: for messages.
        kind: "hf" or "file", for the snapshot.
        pad_id, bos_id, eos_id: special ids, None where there are none.
        special: every id without text.
        strict: refuse text that the vocabulary cannot tell from a special token, and text that a BPE without a token
            for unknown text would leave out. Snapshots of earlier versions encode such text as they always did.

    Raises:
        ValueError: there are no ids, or ids that no vocabulary has.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        name: str,
        kind: str,
        pad_id: int | None,
        bos_id: int | None,
        eos_id: int | None,
        special: list[int],
        add_bos: bool,
        add_eos: bool,
        vocab_size_multiple: int,
        strict: bool = False,
    ):
        super().__init__(add_bos=add_bos, add_eos=add_eos, vocab_size_multiple=vocab_size_multiple)
        backend.no_truncation()
        backend.no_padding()
        self._name = name
        self._kind = kind
        self._special = sorted(special)
        self.pad_id, self.bos_id, self.eos_id = pad_id, bos_id, eos_id
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if not max(self._special, default=0) < self.vocab_size <= HIGHEST_ID:
            raise ValueError(f"ids up to {self.vocab_size - 1:,}, special ones {self._special}")
        # The file as it was given is what the snapshot and the digest are of.
        self._content = backend.to_str().encode()
        parts = json.loads(self._content)
        self._can_cut = can_cut_lines(parts)
        self._encoder = TextEncoder(backend, parts, self._special)
        self._refused: dict[int, str] = {}
        self._lacks_unknown = False
        words = {index: ROLE_WORDS[role] for role, index in self.special_ids().items() if index is not None}
        if strict:
            for index in self._encoder.inseparable:
                self._refused[index] = f"it is its {words.get(index, 'special')} token; choose another token for that"
        if not covers_all_text(parts):
            self._look_for_unknown(parts, words, strict)

    def _look_for_unknown(self, parts: Parts, words: Mapping[int, str], strict: bool) -> None:
        """Find what becomes of text that the vocabulary lacks."""
        unknown, is_bpe = unknown_id(parts), parts["model"]["type"] == "BPE"
        if unknown is not None:
            if strict and (word := words.get(unknown)) is not None:
                self._refused[unknown] = f"its token for unknown text is its {word} token; add one for unknown text"
                self.notes = (f"the token for unknown text of {self._name} is its {word} token: such text {ENDS}",)
            return
        self._lacks_unknown = True
        what = "is left out" if is_bpe and not strict else ENDS
        self.notes = (f"{self._name} has no token for unknown text: text that its vocabulary lacks {what}",)
        if is_bpe and strict:
            parts, number = with_unknown(parts)
            self._encoder = TextEncoder(from_parts(parts), parts, self._special)
            self._refused[number] = NO_UNKNOWN

    @classmethod
    def from_snapshot(cls, folder: Path, settings: dict[str, Any]) -> "FastTokenizer":
        """Rebuild from what `save` wrote.

        Raises:
            OSError: a file is missing.
            Exception: a file is damaged, in whatever way the library says so.
        """
        path = folder / VOCABULARY_FILE
        return cls(
            tokenizers.Tokenizer.from_str(path.read_bytes().decode("utf-8")), name=f"the tokenizer {path}", **settings
        )

    def encode(self, text: str) -> Ids:
        if len(text) > LONG_TEXT and self._can_cut:
            parts = pieces(text)
            ids: list[Ids] = []
            while batch := list(islice(parts, PIECES_AT_ONCE)):
                ids += self._encoded(batch)
            return np.concatenate(ids)
        utf8(text)
        return self._encoded([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        # A long text would be one thread's work, and its encoding many times its size.
        short = [text for text in texts if len(text) <= LONG_TEXT]
        for text in short:
            utf8(text)
        encoded = iter(self._encoded(short))
        return [next(encoded) if len(text) <= LONG_TEXT else self.encode(text) for text in texts]

    def _encoded(self, texts: list[str]) -> list[Ids]:
        with translated(lambda reason: self._unencodable(texts, reason)):
            found = self._encoder.encode(texts)
        for text, ids in zip(texts, found, strict=True) if self._refused else ():
            if np.isin(ids, list(self._refused)).any():
                raise self._refusal(text)
        return found

    def _refusal(self, text: str) -> DataError:
        """Names the first part of a text whose id is refused."""
        index, (start, end) = next(
            (index, span) for index, span in self._encoder.encode_with_places(text) if index in self._refused
        )
        return DataError(f"{self._name} cannot encode {text[start:end][:SHOWN]!r}: {self._refused[index]}")

    def _unencodable(self, texts: list[str], reason: str) -> DataError:
        """Names the first word that the library refuses to encode."""
        text = next(filter(self._fails, texts), texts[0])
        word = next(filter(self._fails, text.split()), text)
        why = NO_UNKNOWN if self._lacks_unknown else reason
        return DataError(f"{self._name} cannot encode {word[:SHOWN]!r}: {why}")

    def _fails(self, text: str) -> bool:
        try:
            with translated(DataError):
                self._encoder.encode([text])
        except DataError:
            return True
        return False

    def decode(self, ids: Any) -> str:
        known = np.asarray(ids, np.int64).reshape(-1)
        known = known[(known >= 0) & (known < self.vocab_size) & ~np.isin(known, self._special)]
        with translated(lambda reason: DataError(f"{self._name} cannot decode ids: {reason}; replace the tokenizer")):
            return str(self._encoder.backend.decode(known.tolist(), skip_special_tokens=True))

    def byte_lengths(self) -> Int32[np.ndarray, " vocab"]:
        return byte_lengths(json.loads(self._content), self._special, self.padded_vocab_size)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self._kind,
            "pad_id": self.pad_id,
            "bos_id": self.bos_id,
            "eos_id": self.eos_id,
            "special": self._special,
            # Left out where it makes no difference, so that the digest is that of earlier versions.
            **({"strict": True} if self._refused else {}),
            **self._common_settings(),
        }

    def files(self) -> dict[str, bytes]:
        return {VOCABULARY_FILE: self._content}

    def separated(self) -> Parts:
        """The `tokenizer.json` by which the library encodes as this tokenizer does, with `encode_special_tokens`."""
        parts = json.loads(self._content)
        separated = keep_out_of_text(parts, self._special, from_parts(parts).model)
        return separated.parts if separated.cut is None else separated.cut


def pieces(text: str) -> Iterator[str]:
    """Cut text before lines that begin with a letter or digit, about every `PIECE` characters."""
    start = 0
    while start < len(text):
        found = LINE_START.search(text, start + PIECE)
        stop = found.start() if found else len(text)
        utf8(text[start:stop])
        yield text[start:stop]
        start = stop
