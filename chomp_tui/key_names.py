"""Names of keys: as Textual reads them, and as the console shows them."""

from __future__ import annotations

# Terminals send ESC and the digit for Alt and a digit. Textual 8.2.8 reads that as the sign that macOS types for Option
# and the digit, which a Mac sends as such. Needless once Textual reads it as `alt+1`; then only Macs send the signs.
_READ_AS = {
    "alt+1": "inverted_exclamation_mark", "alt+2": "trade_mark_sign", "alt+3": "pound_sign", "alt+4": "cent_sign",
    "alt+5": "infinity", "alt+6": "section_sign", "alt+7": "pilcrow_sign", "alt+8": "bullet", "alt+9": "ª",
}  # fmt: skip


def as_read(keys: str) -> str:
    """The keys of a row, and the names under which Textual reads some of them."""
    return ",".join(name for key in keys.split(",") for name in (key, _READ_AS.get(key)) if name is not None)


def shown(keys: str) -> str:
    """Key names as displayed: `? or F1`."""
    return " or ".join(_NAMES.get(key, key if len(key) == 1 else _spell(key)) for key in keys.split(","))


_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "shift+left": "Shift+←",
    "shift+right": "Shift+→",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "left": "←",
    "right": "→",
}


def _spell(key: str) -> str:
    for modifier in ("ctrl", "alt"):
        if key.startswith(f"{modifier}+"):
            return f"{modifier.capitalize()}+{key.removeprefix(f'{modifier}+').upper()}"
    return key.upper() if key.startswith("f") and key[1:].isdecimal() else key.capitalize()
