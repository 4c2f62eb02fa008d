"""`backend: stdlib`: the source files of Python's own library."""

import hashlib
import os
import platform
import sysconfig
from pathlib import Path

from chomp.config.data import DataConfig
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import InMemorySource
from chomp.data.sources.build import Text
from chomp.data.sources.files import divided
from chomp.data.tokenizer import Tokenizer
from chomp.errors import DataError

LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open the library of the running Python."""
    return divided(stdlib_source(), data)


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
    documents: dict[str, Path] = {}
    names = hashlib.sha256()
    for path in python_files(root):
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip() and text not in documents:
            documents[text] = path
            names.update(path.relative_to(root).as_posix().encode() + b"\0")
    if not documents:
        raise DataError(
            f"no Python sources in {root}: this Python has no library source files; choose another data.backend"
        )
    facts = {"backend": "stdlib", "python": platform.python_version(), "names": names.hexdigest()}
    return InMemorySource("Python's standard library", list(documents), facts, list(documents.values()))


def python_files(root: Path) -> list[Path]:
    """The source files of a library, in the order of their paths."""
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in LEFT_OUT]
        files += [
            Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())
