"""The sentence about an unknown key: the nearest known one, or what became of it."""

from __future__ import annotations

import difflib

from chomp.config import predecessor
from chomp.config.spec import children, sections, settings


def nearest(word: str, known: list[str] | tuple[str, ...], cutoff: float = 0.6) -> str | None:
    """The most similar of `known`, or None when none is similar."""
    found = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=cutoff)
    return next((name for name in known if name.lower() == found[0]), None) if found else None


def _elsewhere(leaf: str, path: str) -> list[str]:
    """Known keys and sections called `leaf`, those most like `path` first."""
    same = [known for known in (*sections(), *settings()) if known.rpartition(".")[2] == leaf]
    return sorted(same, key=lambda known: -difflib.SequenceMatcher(None, path, known).ratio())


def unknown_key(path: str) -> str:
    """What to say about a dotted key that does not exist.

    A key of the same name in another section is the likeliest mistake, then a misspelling
    beside it, then a misspelling anywhere.
    """
    retired = predecessor.sentence(path)
    if retired is not None:
        return f"unknown key; {retired}; `chomp config migrate` rewrites the file"
    section, _, leaf = path.rpartition(".")
    same = _elsewhere(leaf, path)
    if section not in sections() and not same:
        section, leaf = _known_part(path)
        same = _elsewhere(leaf, path)
    if same:
        return f"unknown key; did you mean {' or '.join(same[:3])}?"
    beside = nearest(leaf, children(section))
    if beside:
        return f"unknown key; did you mean {f'{section}.{beside}' if section else beside}?"
    leaves = {name.rpartition(".")[2]: name for name in settings()}
    anywhere = nearest(leaf, list(leaves), cutoff=0.75)
    if anywhere:
        return f"unknown key; did you mean {leaves[anywhere]}?"
    names = ", ".join((*children(section), "variables") if not section else children(section))
    return f"unknown key; the keys {f'of {section}' if section else 'at the top'} are {names}"


def _known_part(path: str) -> tuple[str, str]:
    """Split a path whose section is unknown into (deepest known section, first unknown name)."""
    section = ""
    for name in path.split("."):
        inner = f"{section}.{name}" if section else name
        if inner not in sections():
            return section, name
        section = inner
    return section, path.rpartition(".")[2]
