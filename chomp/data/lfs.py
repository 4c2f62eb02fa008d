"""Git LFS pointers: the small text that a clone without Git LFS has in the place of a large file."""

from pathlib import Path

BEGINNING = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(content: bytes) -> bool:
    """Whether a file's content, or its beginning, is that of a pointer."""
    return content.startswith(BEGINNING)


def lfs_problem(path: Path) -> str:
    """What to say of a file that is a pointer."""
    return f"{path} is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`"
