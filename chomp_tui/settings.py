"""The console's settings file: theme, keys, chart style."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chomp.curves import DEFAULT_SPAN
from chomp.record.user_files import user_file
from chomp_tui import theme
from chomp_tui.keymap import checked_keymap, nearest_hint

if TYPE_CHECKING:
    from chomp.config.scalars import Wanted

MARKERS = ("braille", "block")
X_AXES = ("step", "tokens", "time")
MAX_SMOOTHING_STEPS = 1_000_000

# Of a column: a setting, a metric, or a fact of a run.
KEY = re.compile(r"[A-Za-z_][\w.]{0,99}\Z")


@dataclass
class Settings:
    """The console's own settings; `path` is their file.

    Attributes:
        theme: name of a Textual theme.
        keymap: binding id -> keys, where they differ from the key table.
        marker: the characters of charts.
        smoothing: steps that the smoothed loss averages over; 0 for none.
        x_axis: the x axis of charts.
        log_y: whether the y axis of loss charts is logarithmic.
        bell: whether the terminal rings when a watched run ends, crashes or turns non-finite.
        home_columns: keys of Home's columns, from left to right; without any, the standard ones.
        home_sort: the key that orders the runs; empty for live ones first, then the newest.
        home_reverse: whether in the other order.
        home_tree: whether forks are below their parents.
        kept: values that are not written: those of the file, and those of the command line.
    """

    path: Path | None = None
    theme: str = theme.THEMES[0].name
    keymap: dict[str, str] = field(default_factory=dict)
    marker: Literal["braille", "block"] = "braille"
    smoothing: int = DEFAULT_SPAN
    x_axis: Literal["step", "tokens", "time"] = "step"
    log_y: bool = False
    bell: bool = True
    home_columns: tuple[str, ...] = ()
    home_sort: str = ""
    home_reverse: bool = False
    home_tree: bool = False
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


NAMES = tuple(one.name for one in fields(Settings) if one.name not in ("path", "kept"))


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`chomp/console.yaml` in the user's configuration folder; None for a user without a home."""
    return user_file(environ, "XDG_CONFIG_HOME", ".config", "console.yaml")


def load_settings(path: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings file (default: `chomp/console.yaml` in the user's configuration folder), and what is wrong in it.

    A wrong value is left out; a missing file is no mistake.
    """
    path = path or default_path()
    settings, wrong = Settings(path), list[str]()
    for name, value in _read(path, wrong).items():
        wrong += [f"{path}: {sentence}" for sentence in _set(settings, name, value)]
    settings.kept = _values(settings)
    return settings, wrong


def save_settings(settings: Settings) -> None:
    """Write the values that changed in this console; every other character of the file stays.

    Raises:
        OSError: the file cannot be written, or is not YAML that can be edited.
    """
    path = settings.path
    if path is None:
        raise OSError("there is no home folder to keep settings in")
    wrong: list[str] = []
    _read(path, wrong)
    if wrong:
        raise OSError(f"{wrong[0]}; correct or remove it")
    kept = _values(Settings()) | settings.kept
    changed = {name: value for name, value in _values(settings).items() if value != kept[name]}
    if changed:
        _write(path, changed)
        settings.kept |= changed


def _values(settings: Settings) -> dict[str, Any]:
    """What the console itself changes; it never changes the keymap."""
    return {name: getattr(settings, name) for name in NAMES if name != "keymap"}


class SettingsSaver:
    """Writes settings in threads; the last save writes the newest values."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Choices so far, and how many of them are on disk.
        self._choices = self._saved = 0
        self._lock = threading.Lock()

    def changed(self) -> None:
        """Count one more change to save."""
        self._choices += 1

    def save(self) -> None:
        """Save the changes; if the file cannot be written, they last until the console closes."""
        with self._lock:
            choices = self._choices
            if choices > self._saved:
                with contextlib.suppress(OSError):
                    save_settings(self._settings)
                self._saved = choices


HEADER = "# Settings of chomp-tui; see docs/console.md.\n"


def _write(path: Path, changed: Mapping[str, Any]) -> None:
    import yaml

    from chomp.config.edits import CannotEdit, set_value
    from chomp.record.rundir import write_whole

    try:
        text = path.read_bytes().decode("utf-8")
        lines = [line.strip() for line in text.splitlines()]
        if yaml.safe_load(text) is None and any(line and not line.startswith("#") for line in lines):
            # Such as `---` or `null`, to which no key can be added.
            text = HEADER
    except FileNotFoundError:
        text = HEADER
    for name, value in changed.items():
        try:
            text = set_value(text, name, _written(value))
        except CannotEdit as error:
            raise OSError(f"{path}: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def _written(value: Any) -> Wanted:
    """A value as it is put into the file."""
    from chomp.config.scalars import Items, Plain, Words
    from chomp_tui.config.field_text import shown_value

    if isinstance(value, tuple):
        return Items(value)
    return Words(value) if isinstance(value, str) else Plain(shown_value(value))


def _read(path: Path | None, wrong: list[str]) -> dict[str, Any]:
    """The file's table; empty, with a sentence in `wrong`, if it cannot be read."""
    if path is None:
        return {}
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        wrong.append(f"{path} cannot be read: {error.strerror}")
        return {}
    # The first frame waits for it only where there is a file.
    import yaml

    try:
        document = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        wrong.append(f"{path} is not YAML" + (f" (line {mark.line + 1})" if mark else ""))
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        wrong.append(f"{path} is not a table of settings")
        return {}
    return {str(name): value for name, value in document.items()}


# What a value must be, and the words for it.
_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "marker": (lambda value: value in MARKERS, f"allowed are {', '.join(MARKERS)}"),
    "smoothing": (
        lambda value: type(value) is int and 0 <= value <= MAX_SMOOTHING_STEPS,
        f"allowed is a number of steps up to {MAX_SMOOTHING_STEPS:,}, 0 for none",
    ),
    "x_axis": (lambda value: value in X_AXES, f"allowed are {', '.join(X_AXES)}"),
    **dict.fromkeys(
        ("log_y", "bell", "home_reverse", "home_tree"),
        (lambda value: isinstance(value, bool), "allowed are true and false"),
    ),
    "home_columns": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) and KEY.match(one) for one in value),
        "allowed is a list of keys such as [name, eval, optim.lr]",
    ),
    "home_sort": (
        lambda value: isinstance(value, str) and (not value or KEY.match(value) is not None),
        "allowed is a key such as eval or optim.lr",
    ),
}


def _set(settings: Settings, name: str, value: Any) -> list[str]:
    """Set one value if it fits; returns what is wrong, one sentence each."""
    if name == "keymap":
        settings.keymap, refused = checked_keymap(value)
        return [f"keymap: {sentence}" for sentence in refused]
    if name == "smoothing" and type(value) is float and 0 < value < 1:
        # Written before it was a number of steps: the weight of the past from one record to the next.
        value = round(-1 / math.log(value))
    if name not in NAMES:
        return [f"there is no setting {name}{nearest_hint(name, NAMES)}"]
    if name == "theme":
        known = theme_names()
        if value not in known:
            hint = nearest_hint(str(value), known) or f"; there are {', '.join(known)}"
            return [f"there is no theme {value!r}{hint}"]
    else:
        fits, allowed = _ALLOWED[name]
        if not fits(value):
            return [f"{name} is {value!r}; {allowed}"]
    setattr(settings, name, tuple(dict.fromkeys(value)) if isinstance(value, list) else value)
    return []


def theme_names() -> tuple[str, ...]:
    """The console's own themes, then Textual's."""
    from textual.theme import BUILTIN_THEMES

    return (*(one.name for one in theme.THEMES), *sorted(BUILTIN_THEMES))
