"""`backend: files`: tables of text, and everything else as text, one file a document."""

from __future__ import annotations

import glob
import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from chomp.config.data import DataConfig
from chomp.data.heldout import Documents
from chomp.data.retry import RetryPolicy
from chomp.data.sources.badtext import OnBadText, not_utf8
from chomp.data.sources.base import SAMPLED_BYTES, Document, InMemorySource, RandomAccessSource, update_digest
from chomp.data.sources.build import Text, divide, set_aside
from chomp.data.sources.formats import LARGEST, Format, check_head, format_of, open_binary, read_head, reading
from chomp.data.sources.watched import DIGEST_BYTES, changed, digest_file, digest_of
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError, printable


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open the files of `data.files`."""
    return divided(FilesSource(data), data)


def divided(source: RandomAccessSource, data: DataConfig) -> Text:
    """Evaluate on `data.eval_files` or `data.eval_text`, else on a part of the source that is held out.

    Raises:
        DataError: the evaluation text cannot be used, or a document of it is also training text.
    """
    evaluation: RandomAccessSource
    if data.eval_files:
        evaluation = FilesSource(data, data.eval_files, "data.eval_files")
    elif data.eval_text:
        evaluation = InMemorySource("data.eval_text", [data.eval_text], {"backend": "local_text"})
    else:
        return divide(source, data)
    require_disjoint(source, evaluation)
    return set_aside(source, evaluation, data, rule="named", digest=evaluation.fingerprint()["digest"])


def require_disjoint(source: RandomAccessSource, evaluation: RandomAccessSource) -> None:
    """Compare every document for training with those for evaluation, by content.

    Raises:
        DataError: one is both.
    """
    known = {_hash(evaluation[number]): number for number in range(len(evaluation)) if len(evaluation[number])}
    for number in range(len(source)):
        same = known.get(_hash(source[number]))
        if same is not None:
            raise DataError(
                f"document {number + 1} of {source.name} is also document {same + 1} of {evaluation.name}: evaluation "
                f"text must not be training text; remove it from one of them"
            )


def _hash(document: Document) -> bytes:
    return digest_of(document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document.tobytes())


class TextFiles:
    """Text files, read on access; a content other than the one at opening is an error.

    Args:
        paths: the files.
        on_bad: whether invalid UTF-8 is an error.

    Raises:
        DataError: a file cannot be read, or is not text.
    """

    def __init__(self, paths: Sequence[Path], on_bad: OnBadText):
        self._paths = paths
        self._errors = "strict" if on_bad == "fail" else "replace"
        # One object for all: there may be millions of files.
        self.digests = b"".join(map(_check_text, paths))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> str:
        path = self._paths[index]
        with reading(path):
            content = path.read_bytes()
            if digest_of(content) != self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]:
                raise changed(path)
            with open_binary(path, io.BytesIO(content)) as file:
                text = file.read(LARGEST)
        if len(text) == LARGEST:
            raise DataError(f"{path} holds more than {LARGEST >> 30} GiB of text in one document; divide it")
        try:
            return text.decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise not_utf8(path, text[error.start], error.start) from None


def _check_text(path: Path) -> bytes:
    """The hash of a text file, whose first bytes are text."""
    with reading(path):
        if path.stat().st_size > SAMPLED_BYTES:
            digest, head = digest_file(path), read_head(path)
        else:
            content = path.read_bytes()
            digest, head = digest_of(content), read_head(path, io.BytesIO(content))
    check_head(path, head)
    return digest


class FilesSource(RandomAccessSource):
    """The files of `data.files`: text files first seen first, then each kind of table.

    Args:
        data: the section.
        patterns: paths and globs; None for those of `data.files`.
        where: they come from, for messages: a setting or an option.

    Raises:
        ConfigError: no files are named.
        DataError: a file is missing, empty, damaged, of no readable format, or without the text column.
    """

    def __init__(self, data: DataConfig, patterns: Sequence[str] | None = None, where: str = "data.files"):
        self._paths = find_files(data.files if patterns is None else patterns, where)
        count = len(self._paths)
        self.name = printable(f"the file {self._paths[0]}") if count == 1 else f"the {count:,} files of {where}"
        if not any(_size(path) for path in self._paths):
            raise DataError(f"{self.name} {'is' if count == 1 else 'are'} empty; add text, or change {where}")
        self._sampled = self._sampled_digest()
        self._parts: list[Documents] = []
        self._files: list[list[Path]] = []
        self._column = data.text_key, data.on_bad_text
        content = hashlib.sha256()
        for kind, paths in _by_format(self._paths).items():
            self._files.append(paths)
            if kind == "text":
                texts = TextFiles(paths, data.on_bad_text)
                self._parts.append(texts)
                content.update(texts.digests)
            else:
                table, digest = load_table(paths, data, where)
                self._parts.append(table)
                content.update(digest.encode())
        self._content = content.hexdigest()
        self._starts = [0, *accumulate(map(len, self._parts))]
        if not len(self):
            verb = "has" if count == 1 else "have"
            raise DataError(f"{self.name} {verb} no rows; add text, or change {where}")

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Document:
        part = bisect_right(self._starts, index) - 1
        return self._parts[part][index - self._starts[part]]

    def places(self, positions: Sequence[int]) -> list[str]:
        found: dict[int, str] = {}
        for part, (documents, start) in enumerate(zip(self._parts, self._starts, strict=False)):
            rows = [position - start for position in positions if start <= position < self._starts[part + 1]]
            found |= zip((row + start for row in rows), self._places_in(part, documents, rows), strict=True)
        return [found[position] for position in positions]

    def _places_in(self, part: int, documents: Documents, rows: list[int]) -> list[str]:
        files = self._files[part]
        if isinstance(documents, TextFiles):
            return [str(files[row]) for row in rows]
        from chomp.data.sources.places import row_places
        from chomp.data.sources.readers import Column

        return row_places(files, Column(*self._column), rows)

    def _sampled_digest(self) -> str:
        """A hash of names, sizes and samples, by which runs of all versions know their text."""
        digest = hashlib.sha256()
        root = Path(os.path.commonpath([path.parent for path in self._paths]))
        self._bytes = 0
        for path in self._paths:
            digest.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0")
            with reading(path):
                self._bytes += update_digest(digest, path)
        return digest.hexdigest()

    def fingerprint(self) -> dict[str, Any]:
        return {
            "backend": "files",
            "files": len(self._paths),
            "bytes": self._bytes,
            "documents": len(self),
            "digest": self._sampled,
            "content": self._content,
        }


def _size(path: Path) -> int:
    with reading(path):
        return path.stat().st_size


def find_files(patterns: Iterable[str], where: str = "data.files") -> list[Path]:
    """The files that paths and globs name, each once: in the order of the patterns, sorted within one.

    Args:
        patterns: paths and globs.
        where: they come from, for messages.

    Raises:
        ConfigError: there are no patterns.
        DataError: a file is missing or a folder, or a glob matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        if not pattern.strip():
            raise DataError(f"an empty path is among {where}; write the path of a file")
        with reading(Path(pattern)):
            found.update(dict.fromkeys(_matches(pattern, where)))
    if not found:
        raise ConfigError(f"{where} is empty: `data.backend: files` needs at least one path or glob")
    return list(found)


def _matches(pattern: str, where: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        raise DataError(f"{pattern} in {where} is a folder; name its files, e.g. {pattern.rstrip('/')}/**/*.txt")
    if not glob.has_magic(pattern):
        what = "is not a regular file" if path.exists() else "does not exist"
        raise DataError(f"the file {pattern} in {where} {what}; relative paths start at {Path.cwd()}")
    hits = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    matches = sorted((hit for hit in hits if hit.is_file()), key=os.fsencode)
    if not matches:
        _require_readable(path)
        raise DataError(f"no file matches {pattern} in {where}; relative globs start at {Path.cwd()}")
    return [match.resolve() for match in matches]


def _require_readable(pattern: Path) -> None:
    """Open the folder where a pattern begins: glob is silent about folders that may not be read."""
    folder = next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))
    if folder.exists():
        with reading(folder), os.scandir(folder):
            pass


def _by_format(paths: Iterable[Path]) -> dict[Format, list[Path]]:
    formats: dict[Format, list[Path]] = {}
    for path in paths:
        formats.setdefault(format_of(path), []).append(path)
    return formats


def load_table(paths: list[Path], data: DataConfig, where: str) -> tuple[Documents, str]:
    """The text column of JSON, CSV, parquet or Arrow files, and a hash of their contents.

    Raises:
        DataError: naming the file, and the row, the line or the columns.
    """
    for path in paths:
        if not _size(path):
            raise DataError(f"{path} is empty; remove it from {where}")
    # datasets takes a second to load, which text files need not wait for.
    from chomp.data.sources.tables import Column, TextTableColumn, load_texts, text_tables

    builder, watched = text_tables({"train": paths}, Column(data.text_key, data.on_bad_text))
    return TextTableColumn(load_texts(builder, watched, "train"), data.text_key), watched.digest()
