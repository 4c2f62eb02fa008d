"""Standard input, and files in its place: prompts as lines or as a whole, whatever their bytes are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import click

STANDARD_INPUT = "standard input"
CLOSED = f"{STANDARD_INPUT} is closed"
# Of a line or a prompt; a longer one is a mistake, such as a file of data.
MOST_BYTES = 1 << 20


class InputFile(click.File):
    """A file to read bytes from; `-` is standard input."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IO[Any]:
        if value == "":
            self.fail("an empty path was given", param, ctx)
        if value == "-" and sys.stdin is None:
            self.fail(CLOSED, param, ctx)
        return super().convert(value, param, ctx)


def require_input() -> BinaryIO:
    """Standard input.

    Raises:
        click.UsageError: it is closed.
    """
    if sys.stdin is None:
        raise click.UsageError(CLOSED)
    return sys.stdin.buffer


def read_prompt(file: IO[bytes]) -> str:
    """The whole text of a file or of standard input.

    Raises:
        click.UsageError: it cannot be read, or is no text.
    """
    path = getattr(file, "name", "<stdin>")
    name = STANDARD_INPUT if path == "<stdin>" else path
    try:
        return text_of(file.read(MOST_BYTES + 1), name)
    except OSError as error:
        raise click.UsageError(f"--prompt-file: {name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise click.UsageError(f"--prompt-file: {error}") from None


def read_lines() -> Iterator[bytes]:
    """The lines of standard input without their ends; of a line that is too long the beginning, too long still.

    Raises:
        click.UsageError: it cannot be read.
    """
    source = require_input()
    try:
        while line := source.readline(MOST_BYTES + 1):
            rest = line
            while not rest.endswith(b"\n") and len(rest) > MOST_BYTES:
                rest = source.readline(MOST_BYTES + 1)
            yield line.removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise click.UsageError(f"{STANDARD_INPUT} cannot be read: {error.strerror or error}") from None


def text_of(content: bytes, name: str = "the line") -> str:
    """A prompt as text.

    Raises:
        ValueError: it is too long or not UTF-8.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 at byte {error.start:,}") from None
