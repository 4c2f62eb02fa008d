"""Checks the keymap of the settings file: which keys a user may give to which actions."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from chomp_tui import keys
from chomp_tui.key_names import shown

# Scopes whose keys are active at the same time.
_TOGETHER = frozenset({("chart", "run"), ("run", "chart"), ("chart", "compare"), ("compare", "chart")})
# Keys that an action with priority over the focused field may have.
_BESIDE_TYPING = re.compile(r"f([1-9]|1[0-9]|2[0-4])|(ctrl|alt)\+.+")
# Keys that no action can have, and why.
_TAKEN: Mapping[str, str] = {
    "ctrl+c": "copies what is selected",
    "ctrl+p": "opens the command palette",
    "ctrl+q": "leaves the console, whatever else is remapped",
    "tab": "moves the focus",
    "shift+tab": "moves the focus",
    **dict.fromkeys(("up", "down", "pageup", "pagedown", "home", "end"), "moves in lists and texts"),
    "ctrl+i": "is Tab to a terminal",
    "ctrl+m": "is Enter to a terminal",
    "ctrl+j": "is Enter to a terminal",
    "ctrl+h": "is Backspace to a terminal",
}


def nearest_hint(word: str, known: tuple[str, ...]) -> str:
    """`; did you mean …?`, or nothing where no known word is similar."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def checked_keymap(value: Any) -> tuple[dict[str, str], list[str]]:
    """The usable entries of a keymap, and a sentence for each that is refused."""
    if not isinstance(value, dict):
        return {}, ["it must be a table of ids and keys"]
    keymap, refused = dict[str, str](), list[str]()
    for id_, written in value.items():
        try:
            keymap[str(id_)] = _keys(str(id_), written)
        except ValueError as error:
            refused.append(str(error))
    while clash := _clash(keymap):
        mine, key, other = clash
        refused.append(f"{mine}: {shown(key)} is taken by {other}")
        del keymap[mine]
    return keymap, refused


def _keys(id_: str, written: Any) -> str:
    """The keys of one entry, spelled as Textual does.

    Raises:
        ValueError: what is wrong.
    """
    rows = {row.id: row for row in keys.TABLE}
    if id_ not in rows:
        raise ValueError(f"there is no {id_}{nearest_hint(id_, tuple(rows))}")
    # YAML reads a digit as a number.
    parts = [part.strip() for part in str(written).split(",")] if isinstance(written, (str, int)) else []
    if not parts or isinstance(written, bool) or not all(parts):
        raise ValueError(f"{id_}: {written!r} names no key; write it like c, f5 or ctrl+s, more than one with commas")
    if rows[id_].priority and not all(_BESIDE_TYPING.fullmatch(part) for part in parts):
        raise ValueError(f"{id_}: {written} could no longer be typed into a field; use f1 to f12 or ctrl+letter")
    spelled = [_spelled(id_, part) for part in parts]
    # Ctrl+Q leaves the console in any case.
    own = {*rows[id_].keys.split(","), *(["ctrl+q"] if id_ == "app.quit" else [])}
    for part in spelled:
        if part in _TAKEN and part not in own:
            raise ValueError(f"{id_}: {shown(part)} {_TAKEN[part]}")
    return ",".join(spelled)


def _spelled(id_: str, key: str) -> str:
    """One key under Textual's name for it: `question_mark` for `?`.

    Raises:
        ValueError: no terminal sends such a key.
    """
    from textual.keys import KEY_NAME_REPLACEMENTS, Keys, key_to_character

    if len(key) == 1 and not key.isalnum():
        name = unicodedata.name(key, key).lower().replace("-", "_").replace(" ", "_")
        return KEY_NAME_REPLACEMENTS.get(name, name)
    plain = key.rpartition("+")[2]
    known = {one.value for one in Keys} | set(KEY_NAME_REPLACEMENTS.values())
    if not {key, plain} & known and key_to_character(plain) is None:
        raise ValueError(f"{id_}: there is no key {key}{nearest_hint(key, tuple(known))}")
    return key


def _clash(keymap: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(id of a remapped row, key, id of the row that has it too), or None."""
    taken = {row.id: set(keymap.get(row.id, row.keys).split(",")) for row in keys.TABLE}
    # The table itself lets a focused chart have keys before its screen does.
    moved = {row.id for row in keys.TABLE if keymap.get(row.id, row.keys) != row.keys}
    for one, other in combinations(keys.TABLE, 2):
        both = sorted(taken[one.id] & taken[other.id])
        if both and _meet(one.scope, other.scope):
            if other.id in moved:
                return other.id, both[0], one.id
            if one.id in moved:
                return one.id, both[0], other.id
    return None


def _meet(one: str, other: str) -> bool:
    """Whether keys of two scopes are active at the same time; while a dialog is open, only its keys are."""
    if "dialog" in (one, other):
        return one == other
    return one == other or "app" in (one, other) or (one, other) in _TOGETHER
