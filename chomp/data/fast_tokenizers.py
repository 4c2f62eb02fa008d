"""Tokenizers of the `tokenizers` library: a hub name or folder through transformers, or a `tokenizer.json`."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizer import Ids, Tokenizer, utf8
from chomp.data.vocabulary import byte_lengths, can_cut_lines, special_ids
from chomp.errors import ConfigError, DataError

VOCABULARY_FILE = "tokenizer.json"
LONG_TEXT = 1 << 20
"""Characters above which text of a byte-level tokenizer is encoded piece by piece, in parallel."""
PIECE = 1 << 16
"""Characters of such a piece, about."""
PIECES_AT_ONCE = 64
"""Bounds the memory of encodings, which is many times that of their ids."""
LINE_START = re.compile(r"(?<=\S\n)(?=[A-Za-z0-9])")
"""Where cutting changes no id: byte-level splitting never joins a single newline with a letter or digit after it."""


class FastTokenizer(Tokenizer):
    """A `tokenizers.Tokenizer` with known special ids.

    Args:
        backend: taken over; truncation and padding are switched off, special tokens spelled in text stay text.
        kind: "hf" or "file", for the snapshot.
        pad_id, bos_id, eos_id: special ids, None where there are none.
        special: every id without text.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        kind: str,
        pad_id: int | None,
        bos_id: int | None,
        eos_id: int | None,
        special: list[int],
        add_bos: bool,
        add_eos: bool,
        vocab_size_multiple: int,
    ):
        super().__init__(add_bos=add_bos, add_eos=add_eos, vocab_size_multiple=vocab_size_multiple)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self._kind = kind
        self._special = sorted(special)
        self._can_cut = can_cut_lines(backend)
        self.pad_id, self.bos_id, self.eos_id = pad_id, bos_id, eos_id
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values())

    @classmethod
    def from_snapshot(cls, folder: Path, settings: dict[str, Any]) -> "FastTokenizer":
        """Rebuild from what `save` wrote.

        Raises:
            OSError: a file is missing.
            ValueError: a file is damaged.
        """
        return cls(_read_vocabulary((folder / VOCABULARY_FILE).read_bytes()), **settings)

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
        # Unlike `encode_batch` this does not work out offsets, which saves a quarter of the time.
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.fromiter(ids := encoding.ids, np.int32, len(ids)) for encoding in encodings]

    def decode(self, ids: Any) -> str:
        known = np.asarray(ids, np.int64).reshape(-1)
        known = known[(known >= 0) & (known < self.vocab_size) & ~np.isin(known, self._special)]
        return str(self._backend.decode(known.tolist(), skip_special_tokens=True))

    def byte_lengths(self) -> Int32[np.ndarray, " vocab"]:
        return byte_lengths(self._backend, self._special, self.padded_vocab_size)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self._kind,
            "pad_id": self.pad_id,
            "bos_id": self.bos_id,
            "eos_id": self.eos_id,
            "special": self._special,
            **self._common_settings(),
        }

    def files(self) -> dict[str, bytes]:
        return {VOCABULARY_FILE: self._backend.to_str().encode()}


def pieces(text: str) -> Iterator[str]:
    """Cut text before lines that begin with a letter or digit, about every `PIECE` characters."""
    start = 0
    while start < len(text):
        found = LINE_START.search(text, start + PIECE)
        stop = found.start() if found else len(text)
        utf8(text[start:stop])
        yield text[start:stop]
        start = stop


def tokenizer_from_file(config: TokenizerConfig) -> FastTokenizer:
    """The tokenizer of `data.tokenizer.path`.

    Raises:
        ConfigError: no path, or a required special token is not in the file.
        DataError: the file is missing or not a tokenizer.
    """
    path, content = vocabulary_file(config)
    try:
        backend = _read_vocabulary(content)
    except ValueError as error:
        raise DataError(
            f"{path} is not a tokenizer.json: {error}; data.tokenizer.path needs a file written by the tokenizers "
            f"library"
        ) from None
    roles = special_ids(backend, path.with_name("tokenizer_config.json"))
    return _checked(backend, f"the tokenizer {path}", "file", roles, config)


def vocabulary_file(config: TokenizerConfig) -> tuple[Path, bytes]:
    """Where the `tokenizer.json` of `data.tokenizer.path` is, and what it holds.

    Raises:
        ConfigError: no path.
        DataError: the file cannot be read.
    """
    if config.path is None:
        raise ConfigError("data.tokenizer.path is missing: `kind: file` needs the path of a tokenizer.json")
    path = Path(config.path).expanduser()
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the tokenizer {path}: {error.strerror}; check data.tokenizer.path") from None


def tokenizer_from_hub(config: TokenizerConfig) -> FastTokenizer:
    """The tokenizer of `data.tokenizer.hf_name_or_path`, through transformers.

    Raises:
        ConfigError: no name, no fast version, or a required special token is missing.
        DataError: it cannot be found, reached or read.
    """
    name = config.hf_name_or_path
    if name is None:
        raise ConfigError("data.tokenizer.hf_name_or_path is missing: `kind: hf` needs a hub name or a local folder")
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not folder.is_dir():
        raise DataError(f"the tokenizer folder {name} does not exist; check data.tokenizer.hf_name_or_path")
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            str(folder) if folder.is_dir() else name,
            revision=config.hf_revision,
            trust_remote_code=config.hf_trust_remote_code,
            use_fast=True,
        )
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(
            f"cannot load the tokenizer {name}: {first}; check data.tokenizer.hf_name_or_path, the network, and "
            f"whether the tokenizer needs data.tokenizer.hf_trust_remote_code"
        ) from error
    if not getattr(loaded, "is_fast", False):
        raise ConfigError(
            f"the tokenizer {name} has no fast version (tokenizer.json), which chomp needs; choose another "
            f"data.tokenizer.hf_name_or_path"
        )
    roles = {"pad": loaded.pad_token_id, "bos": loaded.bos_token_id, "eos": loaded.eos_token_id}
    return _checked(loaded.backend_tokenizer, f"the tokenizer {name}", "hf", roles, config)


def _read_vocabulary(content: bytes) -> tokenizers.Tokenizer:
    """Parse a `tokenizer.json`; ValueError if it is none."""
    json.loads(content)
    try:
        return tokenizers.Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises plain Exception for every malformed file
        raise ValueError(str(error)) from error


def _checked(
    backend: tokenizers.Tokenizer,
    name: str,
    kind: str,
    roles: dict[str, int | None],
    config: TokenizerConfig,
) -> FastTokenizer:
    for role, wanted in (("bos", config.add_bos), ("eos", config.add_eos)):
        if wanted and roles[role] is None:
            word = "begin" if role == "bos" else "end"
            raise ConfigError(
                f"{name} has no {word}-of-text token, but data.tokenizer.add_{role} is true; set it to false or add "
                f"the token to the tokenizer"
            )
    special = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
    special.update(index for index in roles.values() if index is not None)
    return FastTokenizer(
        backend,
        kind=kind,
        pad_id=roles["pad"],
        bos_id=roles["bos"],
        eos_id=roles["eos"],
        special=list(special),
        add_bos=config.add_bos,
        add_eos=config.add_eos,
        vocab_size_multiple=config.vocab_size_multiple,
    )
