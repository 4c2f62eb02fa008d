"""Plain `step` lines read by whole columns, so that a run of a million rows opens while one watches.

The engine writes a run's rows with the same keys in the same order: between two numbers
always stands the same text. A `Template` is learnt from one line; lines that fit it to the
byte are read with numpy, eight characters at a time in one 64-bit word. Every other line
is left to the ordinary reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from chomp.record.columns import WIDE, column_dtype
from chomp.record.row_columns import ROW_COLUMNS, Block

# Fewer lines than this are read faster one by one.
LEAST_LINES = 48
LEAST_RUN = 4
MOST_TEMPLATES = 24
MOST_LEARNT_AT_ONCE = 6
LONGEST_LITERAL = 200
# Different places of the decimal point, in one column, that are looked for in one go.
MOST_PLACES = 8
TOKEN_BYTES = 24
# Bytes that may stand before and behind the lines in their buffer, so that no word reaches out of it.
FRONT, BACK = 8, LONGEST_LITERAL + 2 * TOKEN_BYTES
# A time is told in milliseconds. With more digits, sums of two parts might differ in the last bit from the true value.
WIDE_FRACTION_DIGITS = 3
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,14})(\.[0-9]{1,22})?(e-[0-9]{2})?")

_U64 = np.uint64
_ZEROS, _SEVENS, _HIGH = _U64(0x3030303030303030), _U64(0x7676767676767676), _U64(0x8080808080808080)
_SHORT_ZEROS, _SHORT_SEVENS, _SHORT_HIGH = np.uint32(0x30303030), np.uint32(0x76767676), np.uint32(0x80808080)
# Moves the first n bytes of a word, as it stands in memory, to its end and zeros before them.
_SHIFTS = np.array([64 - 8 * n for n in range(9)], dtype=_U64)
# The first n bytes of a word.
_FIRST_BYTES = np.array([(1 << (8 * min(n, 8))) - 1 for n in range(TOKEN_BYTES + 1)], dtype=_U64)
_TENS = 10 ** np.arange(17, dtype=np.int64)
_TENTHS = np.array([float(f"1e-{n}") for n in range(100)])
# Two digits make a number below a hundred, two of those one below ten thousand, two of those all eight.
_PAIRINGS = (
    (_U64(10), _U64(0x00FF00FF00FF00FF), _U64(16)),
    (_U64(100), _U64(0x0000FFFF0000FFFF), _U64(32)),
    (_U64(10_000), _U64(0xFFFFFFFF), _U64(0)),
)


class _Digits(str):
    """A number as it is written."""


@dataclass(frozen=True)
class Field:
    """One number of a line and the text before it, from the end of the number before.

    Attributes:
        column: where it is kept; None if it is not.
        first_comma: which of the line's commas begins `literal`; none does for the first field.
    """

    literal: bytes
    column: str | None
    is_negative: bool
    has_point: bool
    has_exponent: bool
    first_comma: int

    @cached_property
    def text(self) -> tuple[int, np.uint64, np.ndarray]:
        """The literal as words that end with it: bytes before it in the first word, a mask without them, the words."""
        before = -len(self.literal) % 8
        return before, ~_FIRST_BYTES[before], np.frombuffer(bytes(before) + self.literal, "<u8")


@dataclass(frozen=True)
class Template:
    """How the lines of one kind are written: fields, then `}`."""

    fields: tuple[Field, ...]
    commas: int


def learn(line: bytes) -> Template | None:
    """The template of a `step` line as the engine writes them, or None for any other line."""
    try:
        pairs = json.loads(line, object_pairs_hook=list, parse_float=_Digits, parse_int=_Digits)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return None
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys) or keys[:3] != ["v", "t", "kind"] or "step" not in keys:
        return None
    if (pairs[0][1], pairs[2][1]) != ("1", "step") or not isinstance(pairs[0][1], _Digits):
        return None
    template = _template(pairs)
    known = {field.column: field for field in template.fields} if template else {}
    if template is None or "t" not in known or "step" not in known or _written(pairs) != line:
        return None
    step, t = known["step"], known["t"]
    return None if step.has_point or step.has_exponent or step.is_negative or t.is_negative else template


def _token(value: Any) -> str:
    return str(value) if isinstance(value, _Digits) else json.dumps(value, ensure_ascii=False)


def _written(pairs: list[tuple[str, Any]]) -> bytes:
    return _bytes("{" + ",".join(f"{_token(key)}:{_token(value)}" for key, value in pairs) + "}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _template(pairs: list[tuple[str, Any]]) -> Template | None:
    fields: list[Field] = []
    text, commas = "{", 0
    for number, (key, value) in enumerate(pairs):
        text += ("," if number else "") + _token(key) + ":"
        if not isinstance(value, _Digits) or key == "v":
            if isinstance(value, list):
                return None
            text += _token(value)
            continue
        digits = value.removeprefix("-")
        is_negative = digits != value
        # The sign belongs to the text: a loss that changes it has two templates.
        text += "-" * is_negative
        form = _NUMBER.fullmatch(digits)
        if form is None or len(digits) > TOKEN_BYTES or len(_bytes(text)) > LONGEST_LITERAL:
            return None
        column = key if key in ROW_COLUMNS else None
        fields.append(Field(_bytes(text), column, is_negative, form[1] is not None, form[2] is not None, commas))
        commas += _bytes(text).count(b",")
        text = ""
    # Then a number's end is where the next comma, or the brace, is.
    return Template(tuple(fields), commas) if not text else None


class RowReader:
    """Divides whole lines into blocks of rows and other lines, in their order; remembers what it has learnt."""

    def __init__(self) -> None:
        self._templates: list[Template] = []
        self._scratch = np.empty((2, 0), bool)

    def parts(self, lines: bytes | bytearray, begin: int = 0, end: int | None = None) -> Iterator[Block | bytes]:
        """Blocks of rows (`step` and `t` among the columns), and single lines without their newline.

        `lines[begin:end]` are whole lines. With `FRONT` bytes before and `BACK` bytes behind them, whatever those
        are, they are read where they stand, else from a copy.
        """
        end = len(lines) if end is None else end
        if lines.count(b"\n", begin, min(end, begin + LEAST_LINES * 4096)) < LEAST_LINES:
            yield from bytes(lines[begin:end]).split(b"\n")[:-1]
            return
        if begin < FRONT or len(lines) - end < BACK:
            lines, begin, end = b"".join((bytes(FRONT), lines[begin:end], bytes(BACK))), FRONT, FRONT + end - begin
        if self._scratch.shape[1] < end - begin:
            self._scratch = np.empty((2, end - begin), bool)
        chunk = _Chunk(lines, begin, end, self._scratch[:, : end - begin])
        self._read(chunk)
        for start, end, is_block in chunk.runs():
            if is_block:
                yield {name: column[start:end] for name, column in chunk.columns.items()}
            else:
                yield from (chunk.line(i) for i in range(start, end))

    def _read(self, chunk: _Chunk) -> None:
        for template in tuple(self._templates):
            chunk.read(template)
        for _ in range(MOST_LEARNT_AT_ONCE):
            line = chunk.first_unread_row()
            learnt = learn(line) if line is not None else None
            if learnt is None or learnt in self._templates:
                return
            chunk.read(learnt)
            self._templates = [learnt, *self._templates][:MOST_TEMPLATES]


class _Chunk:
    """Some lines as bytes, and what has been read of them."""

    def __init__(self, buffer: bytes | bytearray, begin: int, end: int, scratch: np.ndarray):
        self._buffer = buffer
        self._bytes = np.frombuffer(buffer, np.uint8)
        text = self._bytes[begin:end]
        # Commas and newlines in one list: each line's own newline stands behind its commas.
        is_mark = np.equal(text, ord(","), out=scratch[0])
        is_mark |= np.equal(text, ord("\n"), out=scratch[1])
        self._marks = np.flatnonzero(is_mark)
        self._marks += begin
        newlines = np.flatnonzero(self._bytes[self._marks] == ord("\n"))
        self._ends = self._marks[newlines]
        self._starts = np.concatenate([[begin], self._ends[:-1] + 1])
        self._first_mark = np.concatenate([[0], newlines[:-1] + 1])
        self._comma_count = newlines - self._first_mark
        self.is_read = np.zeros(len(self._ends), bool)
        self.columns: Block = {}

    def line(self, number: int) -> bytes:
        return bytes(self._buffer[self._starts[number] : self._ends[number]])

    def first_unread_row(self) -> bytes | None:
        """A line that looks like a row and is not read yet, if there are enough lines for it to matter."""
        unread = np.flatnonzero(~self.is_read)
        if len(unread) < LEAST_LINES // 2:
            return None
        for number in unread[:LEAST_LINES]:
            line = self.line(number)
            if b'"kind":"step"' in line and len(line) < 4096:
                return line
        return None

    def runs(self) -> Iterator[tuple[int, int, bool]]:
        """Ranges of lines that were all read, or all not; a few read ones among others are left with those."""
        edges = np.flatnonzero(np.diff(self.is_read)) + 1
        bounds = [0, *edges.tolist(), len(self.is_read)]
        for start, end in pairwise(bounds):
            yield start, end, bool(self.is_read[start]) and end - start >= LEAST_RUN

    def read(self, template: Template) -> None:
        """Read the lines that fit `template`."""
        numbers = np.flatnonzero((self._comma_count == template.commas) & ~self.is_read)
        if len(numbers) < LEAST_RUN * LEAST_RUN:
            # Rows with evaluations, mostly: a few in a chunk, and far apart.
            return
        fits = np.ones(len(numbers), bool)
        first = self._first_mark[numbers]
        values: dict[str, np.ndarray] = {}
        starts = self._starts[numbers]
        for field, following in zip(template.fields, (*template.fields[1:], None), strict=True):
            ends = self._marks[first + following.first_comma] if following else self._ends[numbers] - 1
            value, good = self._numbers(field, starts, ends)
            starts = ends
            fits &= good
            if field.column is not None:
                values[field.column] = -value if field.is_negative else value
        fits &= self._bytes[self._ends[numbers] - 1] == ord("}")
        if not fits.all():
            numbers, values = numbers[fits], {name: value[fits] for name, value in values.items()}
        self._keep(numbers, values)

    def _keep(self, numbers: np.ndarray, values: Block) -> None:
        self.is_read[numbers] = True
        with np.errstate(over="ignore"):
            for name, value in values.items():
                if name not in self.columns:
                    self.columns[name] = np.full(len(self.is_read), np.nan, column_dtype(name))
                self.columns[name][numbers] = value

    def _numbers(self, field: Field, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of a field whose text begins at `starts`, and where text and number are as they should be."""
        lengths = ends - starts - len(field.literal)
        good = (lengths > 0) & (lengths <= TOKEN_BYTES)
        before, mask, text = field.text
        longest = min(max(int(lengths.max()), 1), TOKEN_BYTES)
        words = self._words(starts - before, len(text) + -(-longest // 8))
        words[:, 0] &= mask
        if len(words) > 1 and lengths[0] == longest and (words[-1] == words[0]).all() and _are_alike(words, lengths):
            # The same number in every line, as limits and peaks are: it is read once.
            value, good = self._numbers(field, starts[:1], ends[:1])
            return np.broadcast_to(value, len(words)), np.broadcast_to(good, len(words))
        for number, expected in enumerate(text):
            good &= words[:, number] == expected
        value, digits = self._decoded(field, words[:, len(text) :], lengths, ends)
        return value, good & digits

    def _decoded(
        self, field: Field, words: np.ndarray, lengths: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of so many characters at the start of `words`, and where they are such as the field has."""
        if not field.has_point and not field.has_exponent:
            return _whole(words, lengths)
        if not field.has_exponent:
            return _decimals(words, lengths, has_point=field.has_point, exact=field.column in WIDE)
        exponent, good = self._exponents(ends)
        value, digits = _decimals(words, lengths - 4, has_point=field.has_point, exact=field.column in WIDE)
        return value * _TENTHS[exponent], good & digits

    def _words(self, places: np.ndarray, count: int) -> np.ndarray:
        """So many words from each of these places on, a line of them for each place."""
        windows = np.ndarray((len(self._bytes) - 8 * count,), f"V{8 * count}", buffer=self._bytes, strides=(1,))
        return windows[places].view("<u8").reshape(-1, count)

    def _exponents(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What stands after `e-`, and where two digits do."""
        tens, ones = (self._bytes[ends - back] - np.uint8(ord("0")) for back in (2, 1))
        good = (self._bytes[ends - 4] == ord("e")) & (self._bytes[ends - 3] == ord("-")) & (tens <= 9) & (ones <= 9)
        return np.where(good, tens.astype(np.intp) * 10 + ones, 0), good


def _are_alike(words: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether every line has the same words, and the same length of what is read from them."""
    return bool((lengths == lengths[0]).all()) and bool((words == words[0]).all())


def _whole(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers of so many digits at the start of some words, and where they are such."""
    good = (lengths > 0) & (lengths < 16) & ((lengths == 1) | ((words[:, 0] & _U64(0xFF)) != ord("0")))
    value, digits = _number((words[:, 0] ^ _ZEROS) << _SHIFTS[np.clip(lengths, 0, 8)])
    good &= digits
    if lengths.max(initial=0) > 8:
        more = np.clip(lengths - 8, 0, 8)
        second, digits = _number((words[:, 1] ^ _ZEROS) << _SHIFTS[more])
        good &= digits
        value = value * _TENS[more] + second
    return value.astype(np.float64), good


def _decimals(words: np.ndarray, lengths: np.ndarray, *, has_point: bool, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of so many characters at the start of some words, and where they are such.

    The point stands at the same place in nearly all lines, which are read together.
    """
    if not has_point:
        return _whole(words, lengths)
    point = _first_point(words)
    if point is not None and (_byte(words, point) == ord(".")).all():
        return _with_point_at(point, words, lengths, exact=exact)
    value, good = np.zeros(len(words)), np.zeros(len(words), bool)
    left = np.arange(len(words))
    for _ in range(MOST_PLACES):
        if not len(left):
            break
        point = _first_point(words[left[:1]])
        here = _byte(words[left], point) == ord(".") if point is not None else left == left[0]
        chosen, left = left[here], left[~here]
        if point is not None:
            value[chosen], good[chosen] = _with_point_at(point, words[chosen], lengths[chosen], exact=exact)
    return value, good


def _first_point(words: np.ndarray) -> int | None:
    """The place of the decimal point in the first number, if there is one behind at most 15 digits."""
    place = words[0].tobytes().find(b".")
    return place if 0 < place < 16 else None


def _byte(words: np.ndarray, place: int) -> np.ndarray:
    """One byte of each line of words; zero behind their end."""
    if place >= 8 * words.shape[1]:
        return np.zeros(len(words), _U64)
    return (words[:, place // 8] >> _U64(8 * (place % 8))) & _U64(0xFF)


def _with_point_at(point: int, words: np.ndarray, lengths: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same for numbers with their point behind `point` digits."""
    digits = lengths - (point + 1)
    good = (digits > 0) & (digits <= (WIDE_FRACTION_DIGITS if exact else TOKEN_BYTES - 2))
    if point <= 4:
        first = words.view("<u4")[:, 0]
        whole, fits = _short_number((first ^ _SHORT_ZEROS) << np.uint32(32 - 8 * point))
        if point > 1:
            good &= (first & np.uint32(0xFF)) != ord("0")
    else:
        whole, fits = _whole(words, np.full(len(words), point))
    good &= fits
    digits = np.where(good, digits, 0)
    longest = int(digits.max(initial=0))
    if longest <= 4:
        word = _word_at(words, point + 1).astype(np.uint32) ^ _SHORT_ZEROS
        fraction, fits = _short_number(word & _FIRST_BYTES[digits].astype(np.uint32))
        return whole + fraction / 1e4, good & fits
    fraction = np.zeros(len(words))
    for place in reversed(range(-(-longest // 8))):
        word = _word_at(words, point + 1 + 8 * place) ^ _ZEROS
        word &= _FIRST_BYTES[digits if place == 0 else np.maximum(digits - 8 * place, 0)]
        part, fits = _number(word)
        good &= fits
        fraction += part
        fraction /= 1e8
    return whole + fraction, good


def _word_at(words: np.ndarray, byte: int) -> np.ndarray:
    """The eight bytes that begin at `byte` of the words; zeros behind their end."""
    number, shift = byte // 8, 8 * (byte % 8)
    last = words.shape[1] - 1
    if number > last:
        return np.zeros(len(words), _U64)
    word = words[:, number] >> _U64(shift)
    if shift and number < last:
        word |= words[:, number + 1] << _U64(64 - shift)
    return word


def _number(word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of eight digits, one to a byte, the first byte the highest, and where all are; `word` is used up."""
    good = (((word + _SEVENS) | word) & _HIGH) == 0
    shifted = word >> _U64(8)
    for ten, mask, shift in _PAIRINGS:
        word *= ten
        word += shifted
        word &= mask
        np.right_shift(word, shift, out=shifted)
    return word.view(np.int64), good


def _short_number(word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of four digits in 32 bits."""
    good = (((word + _SHORT_SEVENS) | word) & _SHORT_HIGH) == 0
    word = (word * np.uint32(10) + (word >> np.uint32(8))) & np.uint32(0x00FF00FF)
    return (word * np.uint32(100) + (word >> np.uint32(16))) & np.uint32(0xFFFF), good
