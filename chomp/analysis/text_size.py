"""How much text a configuration names, without opening all of it: files, bytes, about how many tokens."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chomp.config.data import DataConfig
from chomp.data.heldout import SHARE, heldout_count, spread
from chomp.data.shares import Shares
from chomp.data.sources.files import find_files
from chomp.data.sources.formats import check_head, format_of, open_binary, reading, split_suffix
from chomp.data.sources.mixture import errors_of, of_source, placed
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError

SAMPLED_FILES = 16
SAMPLED_BYTES = 1 << 15
# A row group of a parquet file is read as a whole.
SAMPLED_TABLES = 4


@dataclass(frozen=True)
class TextSize:
    """What is known of a text before it is opened.

    Attributes:
        what: the source, in a few words.
        files, bytes: None where the text is in no files of this machine.
        documents: None where that needs an opened text.
        tokens: of one pass over the training text; None where it is not known.
        is_estimate: whether `tokens` and `eval_tokens` come from samples.
        eval_tokens: of one evaluation.
        unknown: why `tokens` is not known.
    """

    what: str
    files: int | None = None
    bytes: int | None = None
    documents: int | None = None
    tokens: int | None = None
    is_estimate: bool = True
    eval_tokens: int | None = None
    unknown: str = ""


@dataclass(frozen=True)
class SourcePlan:
    """What a run reads of a source of a mixture, if no source ends.

    Attributes:
        share: of the run's tokens.
        tokens: that many.
        text: what the source has.
        epochs: passes over it; None where its length is not known.
    """

    name: str
    share: float
    tokens: int
    text: TextSize
    epochs: float | None


def plan_sources(data: DataConfig, total: int, tokenizer: Tokenizer) -> tuple[SourcePlan, ...]:
    """Find the sources of `data.mixture` and sample them.

    Args:
        total: tokens of the run.

    Raises:
        ConfigError, DataError: see `measure_text`; names the settings of the source.
    """
    plans = []
    for name, tokens in Shares(data.mixture).expected(total).items():
        with errors_of(name):
            text = measure_text(of_source(data, name), tokenizer)
        epochs = tokens / text.tokens if text.tokens else None
        text = replace(text, what=placed(text.what, name))
        plans.append(SourcePlan(name, tokens / total, round(tokens), text, epochs))
    return tuple(plans)


def measure_text(data: DataConfig, tokenizer: Tokenizer) -> TextSize:
    """Find the text of the `data` section and sample it.

    Of a mixture there is no number of tokens in a pass, for each source has its own: see `plan_sources`.

    Raises:
        ConfigError, DataError: it is missing, or a file that was looked at cannot be used.
    """
    if data.mixture.sources:
        return _of_mixture(data, tokenizer)
    match data.backend:
        case "files":
            return _of_files(data, tokenizer)
        case "stdlib":
            from chomp.data.sources.stdlib import python_files

            paths = python_files(Path(sysconfig.get_path("stdlib")))
            return _with_evaluation(_of_text_files("Python's standard library", paths, tokenizer), data, tokenizer)
        case "local_text":
            text = data.local_text or ""
            size = len(text.encode("utf-8", "replace"))
            tokens = (
                len(tokenizer.encode_document(text[:SAMPLED_BYTES])) * len(text) // max(1, len(text[:SAMPLED_BYTES]))
            )
            found = TextSize("data.local_text", None, size, 1, tokens, is_estimate=len(text) > SAMPLED_BYTES)
            return _with_evaluation(found, data, tokenizer)
        case "tokens":
            return _of_token_files(data)
    return _of_hub(data)


def _of_mixture(data: DataConfig, tokenizer: Tokenizer) -> TextSize:
    evaluations = []
    for name in data.mixture.sources:
        with errors_of(name):
            evaluations.append(measure_text(of_source(data, name), tokenizer).eval_tokens)
    known = [tokens for tokens in evaluations if tokens is not None]
    whole = sum(known) if len(known) == len(evaluations) else None
    return TextSize("the mixture", eval_tokens=whole, unknown="each source has passes of its own")


def _of_files(data: DataConfig, tokenizer: Tokenizer) -> TextSize:
    paths = find_files(data.files)
    kinds = {(format_of(path), split_suffix(path)[1]) for path in paths}
    if kinds == {("text", None)}:
        found = _of_text_files("data.files", paths, tokenizer)
    elif kinds == {("json", None)} and all(split_suffix(path)[0] != ".json" for path in paths):
        found = _of_json_lines(paths, data.text_key, tokenizer)
    elif kinds == {("parquet", None)}:
        found = _of_parquet(paths, data.text_key, tokenizer)
    else:
        names = ", ".join(sorted({"".join(filter(None, split_suffix(path))) or path.suffix for path in paths}))
        found = TextSize("data.files", len(paths), _bytes(paths), unknown=f"not estimated for {names or 'these'} files")
    if not found.bytes:
        raise DataError("the files of data.files are empty; add text, or change data.files")
    return _with_evaluation(found, data, tokenizer)


def _bytes(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        with reading(path):
            total += path.stat().st_size
    return total


def _spread(paths: Sequence[Path], most: int = SAMPLED_FILES) -> list[Path]:
    return [paths[index] for index in spread(min(most, len(paths)), len(paths))]


def _head(path: Path) -> str:
    """The beginning of a text file; a character that is cut is left out."""
    with reading(path), open_binary(path) as file:
        head = file.read(SAMPLED_BYTES)
    check_head(path, head)
    return head.decode("utf-8", "ignore")


def _of_text_files(what: str, paths: Sequence[Path], tokenizer: Tokenizer) -> TextSize:
    texts = [_head(path) for path in _spread(paths)]
    sampled, size = sum(len(text.encode()) for text in texts), _bytes(paths)
    ids = sum(len(ids) for ids in tokenizer.encode_batch(texts))
    tokens = ids * size // max(1, sampled) + len(paths) * tokenizer.specials_per_document
    return TextSize(what, len(paths), size, len(paths), tokens, is_estimate=sampled < size)


def _of_json_lines(paths: Sequence[Path], key: str, tokenizer: Tokenizer) -> TextSize:
    """By the whole lines at the beginnings of some files."""
    raw, texts = 0, list[str]()
    for path in _spread(paths):
        with reading(path), open_binary(path) as file:
            for line in file.read(SAMPLED_BYTES * 8).splitlines(keepends=True):
                text = _row(line).get(key)
                if isinstance(text, str):
                    texts.append(text)
                    raw += len(line)
                    if raw >= SAMPLED_BYTES * SAMPLED_FILES:
                        break
    size = _bytes(paths)
    if not texts:
        return TextSize("data.files", len(paths), size, unknown=f"no line with a text `{key}` was found in the samples")
    ids = sum(len(ids) for ids in tokenizer.encode_batch(texts)) + len(texts) * tokenizer.specials_per_document
    return TextSize("data.files", len(paths), size, len(texts) * size // raw, ids * size // raw)


def _row(line: bytes) -> dict[str, object]:
    """The object of a line; {} for half of one at the end of what was read, which the engine reads whole."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _of_parquet(paths: Sequence[Path], key: str, tokenizer: Tokenizer) -> TextSize:
    """By the numbers of rows, and the first rows of some files."""
    from chomp.data.sources.readers import first_texts, parquet_rows

    rows = sum(map(parquet_rows, paths))
    texts = [text for path in _spread(paths, SAMPLED_TABLES) for text in first_texts(path, key, SAMPLED_BYTES)]
    size = _bytes(paths)
    if not texts:
        return TextSize("data.files", len(paths), size, rows, unknown="the samples have no text")
    ids = sum(len(ids) for ids in tokenizer.encode_batch(texts)) + len(texts) * tokenizer.specials_per_document
    return TextSize("data.files", len(paths), size, rows, ids * rows // len(texts))


def _with_evaluation(found: TextSize, data: DataConfig, tokenizer: Tokenizer) -> TextSize:
    """The same with the tokens of an evaluation, which are not of the training text where they are held out."""
    if data.eval_text:
        return replace(found, eval_tokens=len(tokenizer.encode_document(data.eval_text)))
    if data.eval_files:
        paths = find_files(data.eval_files, "data.eval_files")
        if any(format_of(path) != "text" or split_suffix(path)[1] for path in paths):
            return found
        return replace(found, eval_tokens=_of_text_files("", paths, tokenizer).tokens)
    if found.tokens is None or not found.documents:
        return found
    held_out = (
        SHARE if found.documents == 1 else heldout_count(found.documents, data.max_eval_samples) / found.documents
    )
    evaluation = round(found.tokens * held_out)
    return replace(found, tokens=found.tokens - evaluation, eval_tokens=evaluation)


def _of_token_files(data: DataConfig) -> TextSize:
    from chomp.data.tokenfiles import DTYPES, find_token_files

    if data.tokens_path is None:
        raise ConfigError("data.tokens_path is missing: `data.backend: tokens` needs the path of a file")
    val = None if data.tokens_eval_path is None else Path(data.tokens_eval_path).expanduser()
    files = find_token_files(Path(data.tokens_path).expanduser(), data.tokens_dtype, val)
    sizes = [None if file is None else _bytes([file.path]) for file in (files.train, files.val)]
    width = DTYPES[files.train.dtype].itemsize
    assert sizes[0] is not None
    tokens, evaluation = sizes[0] // width, None if sizes[1] is None else sizes[1] // width
    if evaluation is None:
        # Held out of it: the exact share is known once the documents are.
        evaluation = round(tokens * SHARE)
        tokens -= evaluation
    return TextSize(
        f"the token file {files.train.path}",
        1 + (files.val is not None),
        sum(size or 0 for size in sizes),
        None,
        tokens,
        is_estimate=files.val is None,
        eval_tokens=evaluation,
    )


def _of_hub(data: DataConfig) -> TextSize:
    """What is known offline of a dataset; the engine finds out the rest when it opens it."""
    name = data.hf_dataset or ""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return TextSize(f"the dataset folder {name}", unknown="not estimated for folders of datasets")
    if name.startswith((".", "/", "~")):
        raise DataError(f"the dataset folder {name} does not exist; check data.hf_dataset")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"data.hf_dataset: {name} is no name on the hub: {error}") from None
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline and data.hf_streaming:
        raise DataError(f"the dataset {name} is streamed from the hub, and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE")
    return TextSize(f"the dataset {name} of the hub", unknown="not looked up on the hub")
