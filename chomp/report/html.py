"""Pieces of HTML: text that is escaped, tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from chomp.record.formatting import sanitize

# A text, or a text and the class of its cell.
Cell = str | tuple[str, str]


def escaped(text: str) -> str:
    """A text from a run as HTML: no markup, no control character, no mark that turns the direction of writing."""
    return escape(sanitize(text), quote=True)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table that scrolls sideways on a narrow screen; the first cell of each row is its name."""
    titles = "".join(f'<th scope="col">{escaped(one)}</th>' for one in head) if any(head) else ""
    lines = "".join(
        f'<tr><th scope="row">{escaped(_text(name))}</th>{"".join(map(_cell, cells))}</tr>' for name, *cells in rows
    )
    return f'<div class="scroll"><table>{f"<thead><tr>{titles}</tr></thead>" if titles else ""}{lines}</table></div>'


def pairs(facts: Sequence[tuple[str, str]]) -> str:
    """Names with their values, in as many columns as the page is wide."""
    lines = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts)
    return f'<dl class="columns">{lines}</dl>'


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _cell(cell: Cell) -> str:
    style = "" if isinstance(cell, str) or not cell[1] else f' class="{cell[1]}"'
    return f"<td{style}>{escaped(_text(cell))}</td>"
