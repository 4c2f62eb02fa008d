"""Pieces of HTML: text that is escaped, tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from chomp.record.formatting import sanitize

# Longer words may be broken anywhere; all others stay whole.
LONGEST_WORD = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*([._][A-Za-z0-9-]+)+")
# A text, or a text and the class of its cell.
Cell = str | tuple[str, str]


def escaped(text: str) -> str:
    """A text from a run as HTML: no markup, no control character, no mark that turns the direction of writing."""
    return escape(sanitize(text), quote=True)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table that scrolls sideways on a narrow screen; the first cell of each row is its name, and stays in sight."""
    titles = "".join(f'<th scope="col"{_style(one)}>{divisible(one)}</th>' for one in head) if any(head) else ""
    lines = "".join(
        f'<tr><th scope="row"{_style(name)}>{divisible(_text(name))}</th>{"".join(map(_cell, cells))}</tr>'
        for name, *cells in rows
    )
    return f'<div class="scroll"><table>{f"<thead><tr>{titles}</tr></thead>" if titles else ""}{lines}</table></div>'


def divisible(text: str) -> str:
    """A text as HTML whose lines may also end behind the dots and underscores of a name, such as a setting's path."""
    if not _NAME.fullmatch(text):
        return escaped(text)
    return re.sub(r"([._])(?=[A-Za-z])", r"\1<wbr>", escaped(text))


def pairs(facts: Sequence[tuple[str, str]]) -> str:
    """Names with their values, in as many columns as the page is wide."""
    lines = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts)
    return f'<dl class="columns">{lines}</dl>'


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _cell(cell: Cell) -> str:
    return f"<td{_style(cell)}>{escaped(_text(cell))}</td>"


def _style(cell: Cell) -> str:
    """The classes of a cell: its own, and `long` for one with a word that may be broken."""
    own = "" if isinstance(cell, str) else cell[1]
    is_long = any(len(word) > LONGEST_WORD for word in _text(cell).split())
    names = " ".join(name for name in (own, "long" if is_long else "") if name)
    return f' class="{names}"' if names else ""
