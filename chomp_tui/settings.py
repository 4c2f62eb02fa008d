"""What a person chose once and wants to find again: theme, keys, chart manners."""

from __future__ import annotations

import contextlib
import copy
import difflib
import io
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import yaml

from chomp_tui import keys, theme

MARKERS = ("braille", "block")
X_AXES = ("step", "tokens", "time")
MAX_SMOOTHING = 0.99

# Scopes whose keys count at the same time.
_TOGETHER = frozenset({("chart", "run"), ("run", "chart")})


@dataclass
class Settings:
    """The console's own settings; `path` is where they are kept.

    Attributes:
        theme: name of a Textual theme.
        keymap: binding id -> keys, for those that differ from the table.
        marker: what charts are drawn with.
        smoothing: weight of the past in the smoothed loss, 0 to 0.99.
        x_axis: what charts are plotted by.
        log_y: whether the loss chart is logarithmic.
        kept: values that are not to be written: what the file says, and what was chosen for this time alone.
    """

    path: Path | None = None
    theme: str = theme.THEMES[0].name
    keymap: dict[str, str] = field(default_factory=dict)
    marker: Literal["braille", "block"] = "braille"
    smoothing: float = 0.9
    x_axis: Literal["step", "tokens", "time"] = "step"
    log_y: bool = False
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


NAMES = tuple(one.name for one in fields(Settings) if one.name not in ("path", "kept"))


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`chomp/console.yaml` in the user's configuration folder; None for a user without a home."""
    return _user_file(environ, "XDG_CONFIG_HOME", ".config", "console.yaml")


def state_file(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """`chomp/NAME` in the folder for what programs note down for themselves; None for a user without a home."""
    return _user_file(environ, "XDG_STATE_HOME", ".local/state", name)


def _user_file(environ: Mapping[str, str], variable: str, below_home: str, name: str) -> Path | None:
    folder = Path(environ.get(variable, ""))
    if not folder.is_absolute():
        try:
            folder = Path.home() / below_home
        except RuntimeError:
            return None
    return folder / "chomp" / name


def load_settings(path: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings file (default: `chomp/console.yaml` in the user's configuration folder), and what is wrong in it.

    What is wrong is left out; a missing file is no mistake.
    """
    path = path or default_path()
    settings, wrong = Settings(path), list[str]()
    for name, value in _read(path, wrong).items():
        try:
            _take(settings, name, value, wrong)
        except ValueError as error:
            wrong.append(f"{path}: {error}")
    settings.kept = _values(settings)
    return settings, wrong


def _values(settings: Settings) -> dict[str, Any]:
    return {name: copy.copy(getattr(settings, name)) for name in NAMES}


def save_settings(settings: Settings) -> None:
    """Write what was changed here; comments, order and everything else in the file stay.

    Raises:
        OSError: the file cannot be written, or holds what is no YAML and would be lost.
    """
    path = settings.path
    if path is None:
        raise OSError("there is no home folder to keep settings in")
    wrong: list[str] = []
    _read(path, wrong)
    if wrong:
        raise OSError(f"{wrong[0]}; correct or remove it")
    values, kept = _values(settings), _values(Settings()) | settings.kept
    changed = {name: value for name, value in values.items() if value != kept[name]}
    if changed:
        _write(path, changed)
        settings.kept |= changed


class SettingsSaver:
    """Writes settings that are changed key by key; of saves in several threads, the last one has the newest choices."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Choices so far, and how many of them are on disk.
        self._choices = self._saved = 0
        self._lock = threading.Lock()

    def changed(self) -> None:
        """There is something to save."""
        self._choices += 1

    def save(self) -> None:
        """Save what was changed; where it cannot be saved it lasts as long as the console."""
        with self._lock:
            choices = self._choices
            if choices > self._saved:
                with contextlib.suppress(OSError):
                    save_settings(self._settings)
                self._saved = choices


def _write(path: Path, changed: dict[str, Any]) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    from chomp.record.rundir import write_whole

    round_trip = YAML()
    try:
        document = round_trip.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = None
    if document is None:
        document = CommentedMap()
        document.yaml_set_start_comment("Settings of chomp-tui; see docs/console.md.")
    document.update(changed)
    text = io.StringIO()
    round_trip.dump(document, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue().encode())


def _read(path: Path | None, wrong: list[str]) -> dict[str, Any]:
    """The file's table; empty, with a sentence in `wrong`, if it cannot be had."""
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        wrong.append(f"{path} cannot be read: {error.strerror}")
        return {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        wrong.append(f"{path} is not YAML" + (f" (line {mark.line + 1})" if mark else ""))
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        wrong.append(f"{path} is no table of settings")
        return {}
    return {str(name): value for name, value in document.items()}


def _take(settings: Settings, name: str, value: Any, wrong: list[str]) -> None:
    """Put one value in.

    Raises:
        ValueError: it is not a setting, or not a value of it.
    """
    if name == "keymap":
        settings.keymap, refused = checked_keymap(value)
        wrong += [f"{settings.path}: keymap: {sentence}" for sentence in refused]
    elif name in _CHECKS:
        setattr(settings, name, _CHECKS[name](name, value))
    else:
        raise ValueError(f"there is no setting {name}{_nearest(name, NAMES)}")


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
        return str(value)

    return check


def _theme(name: str, value: Any) -> str:
    known = theme_names()
    if value not in known:
        raise ValueError(f"there is no theme {value!r}{_nearest(str(value), known) or f'; there are {known}'}")
    return str(value)


def theme_names() -> tuple[str, ...]:
    """The console's own themes, then Textual's."""
    from textual.theme import BUILTIN_THEMES

    return (*(one.name for one in theme.THEMES), *sorted(BUILTIN_THEMES))


def _smoothing(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SMOOTHING:
        raise ValueError(f"{name} is {value!r}; allowed is 0 to {MAX_SMOOTHING}")
    return float(value)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; allowed are true and false")
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "theme": _theme,
    "marker": _one_of(MARKERS),
    "smoothing": _smoothing,
    "x_axis": _one_of(X_AXES),
    "log_y": _switch,
}


# What a key may be that counts before the field with the focus.
_BESIDE_TYPING = re.compile(r"f([1-9]|1[0-9]|2[0-4])|(ctrl|alt)\+.+")
# Keys that no row can have, and why.
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


def _nearest(word: str, known: tuple[str, ...]) -> str:
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
        refused.append(f"{mine}: {keys.shown(key)} is taken by {other}")
        del keymap[mine]
    return keymap, refused


def _keys(id_: str, written: Any) -> str:
    """The keys of one entry, spelled as Textual does.

    Raises:
        ValueError: with what is wrong.
    """
    rows = {row.id: row for row in keys.TABLE}
    if id_ not in rows:
        raise ValueError(f"there is no {id_}{_nearest(id_, tuple(rows))}")
    # YAML reads a digit as a number.
    parts = [part.strip() for part in str(written).split(",")] if isinstance(written, (str, int)) else []
    if not parts or isinstance(written, bool) or not all(parts):
        raise ValueError(f"{id_}: {written!r} names no key; write it like c, f5 or ctrl+s, more than one with commas")
    if rows[id_].priority and not all(_BESIDE_TYPING.fullmatch(part) for part in parts):
        raise ValueError(f"{id_}: {written} could no longer be typed into a field; use f1 to f12 or ctrl+letter")
    spelled = [_spelled(id_, part) for part in parts]
    for part in spelled:
        if part in _TAKEN and (id_, part) != ("app.quit", "ctrl+q"):
            raise ValueError(f"{id_}: {keys.shown(part)} {_TAKEN[part]}")
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
        raise ValueError(f"{id_}: there is no key {key}{_nearest(key, tuple(known))}")
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
    """Whether keys of two scopes count at the same time; a dialog has the keyboard to itself."""
    if "dialog" in (one, other):
        return one == other
    return one == other or "app" in (one, other) or (one, other) in _TOGETHER
