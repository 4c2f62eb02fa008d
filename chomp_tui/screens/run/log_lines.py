"""Lines of a log as rows of a panel: short beside the panels that show the same numbers, whole where it is alone."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

from chomp_tui.widgets.listing import fit_text

LEAST_TO_INDENT = 20
TONES = (("ERROR", "bad"), ("CRITICAL", "bad"), ("Traceback", "bad"), ("WARNING", "warn"), ("warning: ", "warn"))
# A metrics row as the engine prints it, in columns that two spaces part; the panel Now shows all but these of them.
_RECORD = re.compile(r"(step +[\d,]+/[\d,]+)  (?=loss )")
_KEPT = ("step ", "loss ", "eval ")
# What the engine's logging puts before a message.
_HEAD = re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d)(?:,\d+)? (?:INFO )?(?:chomp\.)?")


def tone(line: str) -> str:
    """The tone of a line; empty for a plain one."""
    return next((tone for word, tone in TONES if word in line), "")


def rows_of(line: str, width: int, *, brief: bool) -> list[str]:
    """A line in rows of at most `width` cells.

    Args:
        brief: whether a line that is neither warning nor error takes one row, without the columns that other panels
            show.
    """
    if not brief:
        return wrapped(line, width)
    if record := _RECORD.match(line):
        return [_columns([record[1], *line[record.end() :].split("  ")], width)]
    line = _HEAD.sub(r"\1 ", line, count=1) if _HEAD.match(line) else line
    return wrapped(line, width) if tone(line) else [fit_text(line, width)]


def _columns(columns: list[str], width: int) -> str:
    """The columns of a record that no other panel shows, as many as fit whole."""
    shown, *others = (column for column in columns if column.startswith(_KEPT))
    for column in others:
        if cell_len(f"{shown}  {column}") > width:
            break
        shown += f"  {column}"
    return fit_text(shown, width)


def wrapped(line: str, width: int) -> list[str]:
    """The line in rows of at most `width` cells, broken at a space where one is near; later rows are set in."""
    rows, indent = [], ""
    while cell_len(indent) + cell_len(line) > width:
        room = max(1, width - len(indent))
        piece = chop_cells(line[: 2 * room], room)[0] or line[0]
        # A number that is cut in two is another number.
        space = -1 if line[len(piece) : len(piece) + 1] == " " else piece.rfind(" ")
        if space > len(piece) // 2:
            piece = piece[:space]
        rows.append(indent + piece)
        line = line[len(piece) :].lstrip(" ")
        indent = "  " if width > LEAST_TO_INDENT else ""
    return [*rows, indent + line] if line or not rows else rows
