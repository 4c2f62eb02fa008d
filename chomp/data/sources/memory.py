"""Sources small enough to keep in memory: inline text and Python's own library."""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chomp.data.sources.base import RandomAccessSource, digest_documents
from chomp.errors import ConfigError, DataError
from chomp.record.text import plural

LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


class InMemorySource(RandomAccessSource):
    """Documents held in a list."""

    def __init__(self, name: str, documents: Sequence[str], facts: dict[str, Any]):
        self.name = name
        self._documents = documents
        self._facts = facts

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: int) -> str:
        return self._documents[index]

    def fingerprint(self) -> dict[str, Any]:
        return {**self._facts, "documents": len(self), "digest": digest_documents(self._documents)}

    def describe(self) -> str:
        characters = sum(map(len, self._documents))
        return f"{self.name}: {plural(len(self), 'document')}, {plural(characters, 'character')}"


def inline_source(text: str | None) -> InMemorySource:
    """The text of `data.local_text` as one document.

    Raises:
        ConfigError: it is missing.
        DataError: it is empty.
    """
    if text is None:
        raise ConfigError("data.local_text is missing: `data.backend: local_text` needs the text itself")
    if not text.strip():
        raise DataError("data.local_text is empty: write the text to train on, or choose another data.backend")
    return InMemorySource("data.local_text", [text], {"backend": "local_text"})


def stdlib_source(folder: Path | None = None) -> InMemorySource:
    """Python's own library sources, one file a document, in the order of their paths.

    Tests, installed packages, build-specific files, files that are not UTF-8, and repeated or
    empty files are left out.

    Args:
        folder: where the library lies; None asks the running Python.

    Raises:
        DataError: the sources are not installed.
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    documents: dict[str, None] = {}
    names = hashlib.sha256()
    for path in _python_files(root):
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip() and text not in documents:
            documents[text] = None
            names.update(path.relative_to(root).as_posix().encode() + b"\0")
    if not documents:
        raise DataError(
            f"no Python sources in {root}: this Python has no library source files; choose another data.backend"
        )
    facts = {"backend": "stdlib", "python": platform.python_version(), "names": names.hexdigest()}
    return InMemorySource("Python's standard library", list(documents), facts)


def _python_files(root: Path) -> list[Path]:
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in LEFT_OUT]
        files += [
            Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())
