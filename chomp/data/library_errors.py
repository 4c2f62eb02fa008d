"""Errors of the libraries that read and run tokenizers, as errors of chomp."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chomp.errors import ChompError


@contextmanager
def translated(make: Callable[[str], ChompError]) -> Iterator[None]:
    """Raise what a library raises inside as the error that `make` makes of its first line.

    The libraries raise every kind of exception for a damaged file, and a panic of their Rust code is no `Exception`.
    Only calls of a library belong inside.
    """
    try:
        yield
    except (ChompError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise make(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
