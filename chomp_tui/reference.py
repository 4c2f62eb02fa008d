"""Writes the key tables of docs/console.md from the key table.

python -m chomp_tui.reference [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chomp_tui import keys
from chomp_tui.key_names import shown
from chomp_tui.scopes import SCOPES

PAGE = Path("docs/console.md")
BEGIN = "<!-- keys: written by `make docs` -->"
END = "<!-- end of keys -->"


def render() -> str:
    """The part of the page between its two marks, marks included."""
    parts = [BEGIN]
    for scope, title in SCOPES.items():
        rows = [row for row in keys.TABLE if row.scope == scope]
        parts += ["", f"### {title}", "", "| Key | What it does | Id |", "| --- | --- | --- |"]
        parts += [f"| {shown(row.keys)} | {row.help} | `{row.id}` |" for row in rows]
    return "\n".join([*parts, "", END])


def updated(page: str) -> str:
    """`page` with its key tables replaced.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks the marks {BEGIN} and {END}")
    return before + render() + after


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` compare it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chomp_tui.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check whether the page is current")
    options = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    current = updated(page)
    if options.check and current != page:
        print(f"{PAGE} is not current; run `make docs`", file=sys.stderr)
        return 1
    if not options.check:
        PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
