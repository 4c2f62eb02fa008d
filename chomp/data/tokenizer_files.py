"""Reads tokenizers that others made: a `tokenizer.json`, or a hub name or folder through transformers."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import tokenizers

from chomp.config.data import TokenizerConfig
from chomp.data.fast_tokenizers import VOCABULARY_FILE, FastTokenizer
from chomp.data.lfs import BEGINNING, is_lfs_pointer, lfs_problem
from chomp.data.library_errors import translated
from chomp.data.vocabulary import id_problem, read_object, special_ids
from chomp.errors import ChompError, ConfigError, DataError
from chomp.record.json_text import parse_json

DESCRIPTIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
"""JSON objects that transformers reads beside a vocabulary."""
VOCABULARIES = re.compile(r"(tokenizer|vocab|tekken)\b.*\.json|vocab\..*|merges\.txt|.*\.(model|spm|tiktoken)")
"""Names of files that hold a vocabulary."""


def tokenizer_from_file(config: TokenizerConfig) -> FastTokenizer:
    """The tokenizer of `data.tokenizer.path`.

    Raises:
        ConfigError: no path, or a required special token is not in the file.
        DataError: the file is missing or not a tokenizer.
    """
    path, content = vocabulary_file(config)
    backend = _read_vocabulary(path, content)
    described = path.with_name("tokenizer_config.json")
    with translated(lambda reason: DataError(f"{described} cannot be used: {reason}; replace the file")):
        roles = special_ids(backend, described)
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


def _read_vocabulary(path: Path, content: bytes) -> tokenizers.Tokenizer:
    """Parse a `tokenizer.json`; DataError if it is none."""

    def problem(reason: str) -> DataError:
        return DataError(
            f"{path} is not a tokenizer.json: {reason}; data.tokenizer.path needs a file written by the tokenizers "
            f"library"
        )

    if is_lfs_pointer(content):
        raise DataError(lfs_problem(path))
    with translated(problem):
        parse_json(content)
        return tokenizers.Tokenizer.from_str(content.decode("utf-8"))


def tokenizer_from_hub(config: TokenizerConfig) -> FastTokenizer:
    """The tokenizer of `data.tokenizer.hf_name_or_path`, through transformers.

    Raises:
        ConfigError: no name, no fast version, or a required special token is missing.
        DataError: it cannot be found, reached or read.
    """
    name = config.hf_name_or_path
    if name is None:
        raise ConfigError("data.tokenizer.hf_name_or_path is missing: `kind: hf` needs a hub name or a local folder")
    path = Path(name).expanduser()
    if path.is_file():
        raise DataError(
            f"data.tokenizer.hf_name_or_path names a file, {name}; write data.tokenizer.kind: file and "
            f"data.tokenizer.path: {name}, or name the file's folder"
        )
    if name.startswith((".", "/", "~")) and not path.is_dir():
        raise DataError(f"the tokenizer folder {name} does not exist; check data.tokenizer.hf_name_or_path")
    folder = path if path.is_dir() else None
    with translated(partial(_unloadable, name, folder)), _quiet_transformers():
        if folder is not None:
            _require_vocabulary(folder, config)
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(
            str(folder or name),
            revision=config.hf_revision,
            trust_remote_code=config.hf_trust_remote_code,
            use_fast=True,
        )
        roles = {"pad": loaded.pad_token_id, "bos": loaded.bos_token_id, "eos": loaded.eos_token_id}
        backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise ConfigError(
            f"the tokenizer {name} has no fast version (tokenizer.json), which chomp needs; choose another "
            f"data.tokenizer.hf_name_or_path"
        )
    return _checked(backend, f"the tokenizer {name}", "hf", roles, config)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the library's log, which names other causes than the error that it raises."""
    # Read at the first import.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _require_vocabulary(folder: Path, config: TokenizerConfig) -> None:
    """Refuse what transformers would take for another tokenizer: pointers, and a folder without a vocabulary."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = [name for name in names if VOCABULARIES.fullmatch(name) and name not in DESCRIPTIONS]
    used = [VOCABULARY_FILE] if VOCABULARY_FILE in found else found
    for name in [*used, *(name for name in names if name in DESCRIPTIONS)]:
        with (folder / name).open("rb") as file:
            if is_lfs_pointer(file.read(len(BEGINNING))):
                raise DataError(lfs_problem(folder / name))
    if not found and not config.hf_trust_remote_code:
        raise DataError(
            f"cannot load the tokenizer {folder}: the folder has no tokenizer.json; check "
            f"data.tokenizer.hf_name_or_path"
        )


def _unloadable(name: str, folder: Path | None, reason: str) -> ChompError:
    """The error for a tokenizer that transformers cannot load; it names the file of a folder that is to blame."""
    if folder is None:
        return DataError(
            f"cannot load the tokenizer {name}: {reason}; check data.tokenizer.hf_name_or_path, the network, and "
            f"whether the tokenizer needs data.tokenizer.hf_trust_remote_code"
        )
    try:
        for path in filter(Path.is_file, (folder / file for file in DESCRIPTIONS)):
            read_object(path)
        vocabulary = folder / VOCABULARY_FILE
        if vocabulary.is_file():
            _read_vocabulary(vocabulary, vocabulary.read_bytes())
    except DataError as problem:
        return problem
    except OSError as error:
        return DataError(f"cannot load the tokenizer {name}: {error.filename}: {error.strerror}")
    models = sorted(folder.glob("*.model"))
    if models and not vocabulary.is_file():
        call = f"AutoTokenizer.from_pretrained('{name}').save_pretrained('{name}')"
        return DataError(
            f"{name} has no tokenizer.json, only a SentencePiece model ({models[0].name}); convert it with "
            f'`pip install sentencepiece protobuf` and `python -c "from transformers import AutoTokenizer; {call}"`'
        )
    return DataError(
        f"cannot load the tokenizer {name}: {reason}; check the files in the folder, and whether "
        f"the tokenizer needs data.tokenizer.hf_trust_remote_code"
    )


def _checked(
    backend: tokenizers.Tokenizer, name: str, kind: str, roles: dict[str, int | None], config: TokenizerConfig
) -> FastTokenizer:
    if (problem := id_problem(backend.get_vocab(with_added_tokens=True))) is not None:
        raise DataError(f"{name} {problem}; replace the file")
    for role, wanted in (("bos", config.add_bos), ("eos", config.add_eos)):
        if wanted and roles[role] is None:
            word = "begin" if role == "bos" else "end"
            raise ConfigError(
                f"{name} has no {word}-of-text token, but data.tokenizer.add_{role} is true; set it to false or add "
                f"the token to the tokenizer"
            )
    special = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
    special.update(index for index in roles.values() if index is not None)
    if special.issuperset(backend.get_vocab(with_added_tokens=True).values()):
        raise DataError(f"{name} has no tokens for text, only special ones; replace the file")
    with translated(lambda reason: DataError(f"{name} cannot be used: {reason}; replace it")):
        return FastTokenizer(
            backend,
            name=name,
            kind=kind,
            pad_id=roles["pad"],
            bos_id=roles["bos"],
            eos_id=roles["eos"],
            special=list(special),
            add_bos=config.add_bos,
            add_eos=config.add_eos,
            vocab_size_multiple=config.vocab_size_multiple,
            strict=True,
        )
