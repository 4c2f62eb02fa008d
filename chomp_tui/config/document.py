"""The edited configuration: one text with one undo history, shared by form and YAML editor.

The form and the YAML are two views of it. Nothing here knows of Textual.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chomp.config import (
    InvalidConfig,
    LoadedConfig,
    Problem,
    Setting,
    edits,
    effective,
    flatten,
    notes,
    parse_config,
    setting_at,
    settings,
)
from chomp.config.presets import expand_preset
from chomp.config.yaml_reader import scalar
from chomp.config.yaml_spans import Layout, Place, Unreadable, read_layout
from chomp.record.formatting import sanitize
from chomp_tui.config.field_text import is_null, shown_items, shown_value, shown_words, typed, typed_variable
from chomp_tui.config.history import History

# How the names of settings begin that a run on one device does not read.
OF_DEVICES = "parallel."


@dataclass(frozen=True)
class Validation:
    """The result of validating one state of the document.

    Attributes:
        loaded: None where there are problems.
        parses: whether the text is YAML at all; if not, `problems` says why.
    """

    loaded: LoadedConfig | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    parses: bool = True


@dataclass(frozen=True)
class FieldView:
    """What a form shows of one setting.

    Attributes:
        text: what is written, as a user would type it; empty where nothing is.
        fallback: the value of the setting where nothing is written, or the word for null and what it amounts to.
        shown: the value in force by the document, null as `fallback` shows it.
        resolved: what the text amounts to where that differs (a `$variables` reference).
        is_set: whether the document writes the key.
        is_read: whether a run with the other settings reads it.
        is_changed: whether it differs from the file.
        is_default: whether the value in force is the setting's default.
        is_long: whether the text has several lines and is edited in the YAML only.
        override: the `KEY=VALUE` that wins over the document.
        problems: sentences about this setting.
        line: of the document, from 1; None where the setting is not written.
    """

    setting: Setting
    text: str
    fallback: str
    shown: str = ""
    resolved: str = ""
    is_set: bool = False
    is_read: bool = True
    is_changed: bool = False
    is_default: bool = True
    is_long: bool = False
    override: str | None = None
    problems: tuple[str, ...] = ()
    line: int | None = None

    @property
    def is_needed(self) -> bool:
        """Whether a form must show it: the run reads it, or the user has written something there."""
        return self.is_read or self.is_set or self.is_changed or bool(self.override or self.problems)


class ConfigDocument:
    """A text with overrides on top of it.

    Args:
        name: what the text is called in problems: the file's path, or a description.
        path: the file it is saved to; None where there is none yet.
        disk: the file's bytes when it was read or saved last; None where there is no file.
        is_copy: whether it began as a past run's settings.

    Attributes:
        devices: on which a run would compute here; settings of the mesh are read on several only.
    """

    def __init__(
        self,
        text: str,
        *,
        name: str,
        path: Path | None = None,
        overrides: Sequence[str] = (),
        disk: bytes | None = None,
        is_copy: bool = False,
    ) -> None:
        self.name = name
        self.path = path
        self.disk = disk
        self.devices = 1
        # A version of the file that the user has chosen not to take.
        self.asked_about: bytes | None = disk
        self.is_copy = is_copy
        self._base = text
        self._history = History((text, tuple(overrides)))
        self._checked: tuple[tuple[str, tuple[str, ...]], Validation] | None = None
        # By the newest state that was valid, and what newer ones write into settings on which others depend.
        self._values: dict[str, Any] = {path: setting.default for path, setting in settings().items()}
        self._effective: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The YAML."""
        return self._history.state[0]

    @property
    def overrides(self) -> tuple[str, ...]:
        """`KEY=VALUE` texts that win over the YAML, the last of a key first of all."""
        return self._history.state[1]

    @property
    def base(self) -> str:
        """The text as it is on disk, or as the document began."""
        return self._base

    @property
    def is_modified(self) -> bool:
        return self.text != self._base

    # Changing --------------------------------------------------------------------------

    def set(self, path: str, value_text: str, *, edit: int | None = None) -> None:
        """Write one value as it was typed; an override of it gives way.

        Args:
            edit: see `History.change`.

        Raises:
            CannotEdit: the value cannot be changed without touching others.
        """
        setting = setting_at(path)
        wanted = typed_variable(value_text) if setting is None else typed(setting, value_text)
        self._history.change((edits.set_value(self.text, path, wanted), self._without_override(path)), edit)

    def reset(self, path: str, *, edit: int | None = None) -> None:
        """Go back to the default of one setting by taking its key out; an override of it gives way.

        Args:
            edit: see `History.change`.

        Raises:
            CannotEdit: the key cannot be taken out alone.
        """
        self._history.change((edits.reset_value(self.text, path), self._without_override(path)), edit)

    def replace(self, text: str) -> None:
        """Replace the whole text."""
        self._history.change((text, self.overrides))

    def take_lines(self, lines: Sequence[str], *, edit: int | None = None) -> None:
        """Take the lines of an editor; line ends that it does not know of stay as they are."""
        text = merged(self.text, lines)
        if text != self.text:
            self._history.change((text, self.overrides), edit)

    def end_edit(self) -> None:
        """End the open edit: the next change is undone alone."""
        self._history.end()

    def cancel_edit(self, edit: int) -> bool:
        """Go back to where an edit began; False if it has changed nothing."""
        return self._history.cancel(edit)

    def forget_history(self) -> None:
        """Undo goes no further back than to the current text."""
        self._history.forget()

    def undo(self) -> bool:
        """Undo the last edit; False where there is none."""
        return self._history.undo()

    def redo(self) -> bool:
        """Redo the edit that was undone last; False where there is none."""
        return self._history.redo()

    def _without_override(self, path: str) -> tuple[str, ...]:
        return tuple(one for one in self.overrides if _key(one) != path)

    def saved(self, path: Path, disk: bytes) -> None:
        """Note that the text was saved to `path` as these bytes."""
        self.path, self.name, self._base = path, str(path), disk.decode("utf-8", "replace")
        self.disk = self.asked_about = disk
        self._history.end()
        self._checked = None

    def reloaded(self, text: str, disk: bytes) -> None:
        """Take the text of the file, which another program has written; undo goes back to the text before."""
        self.replace(text)
        self._base = text
        self.disk = self.asked_about = disk

    # Knowing ---------------------------------------------------------------------------

    def check(self) -> Validation:
        """Validate as the engine does; the answer is kept until something changes."""
        if self._checked is None or self._checked[0] != self._history.state:
            self._checked = (self._history.state, self._validate())
        return self._checked[1]

    def _validate(self) -> Validation:
        try:
            loaded = parse_config(self.text, source=self.name, overrides=self.overrides)
        except InvalidConfig as error:
            layout = _layout(self.text)
            self._values |= _deciding(layout) if layout else {}
            return Validation(None, error.problems, parses=layout is not None)
        self._values, self._effective = flatten(loaded.config), effective(loaded.config)
        return Validation(loaded, notes=notes(loaded.config))

    def variables(self) -> tuple[Setting, ...]:
        """The document's own variables, as settings of a form."""
        layout = self.layout()
        names = [place.path for place in layout.children("variables")] if layout else []
        return tuple(
            Setting(name, "text", None, True, "A value that others use as $" + name + ".")
            for name in names
            if layout and layout.places[name].kind in ("scalar", "alias")
        )

    def layout(self) -> Layout | None:
        """The places of all keys and values; None where the text does not parse."""
        return _layout(self.text)

    def line_of(self, path: str) -> int | None:
        """The line of a key, or of the nearest section around it, from 1."""
        layout = self.layout()
        while layout and path:
            if path in layout.places:
                return row_of(self.text, layout.places[path].key.start) + 1
            path = path.rpartition(".")[0]
        return None

    def view(self, setting: Setting) -> FieldView:
        """What a form shows of a setting."""
        layout, base, check = self.layout(), _layout(self._base), self.check()
        place = layout.places.get(setting.path) if layout else None
        text, is_long = _field_text(self.text, place, setting) if place else ("", False)
        value, override = self._value(setting), self._override_of(setting.path)
        is_reference = place is not None and "$variables" in text and setting_at(setting.path) is not None
        is_given = bool(override or (text and not is_null(setting, text)))
        null = setting.unset if is_given else self._null_text(setting)
        fallback = self._fallback(setting)
        fallback_text = null if fallback is None else shown_value(fallback)
        return FieldView(
            setting=setting,
            text=text,
            fallback=fallback_text,
            shown=fallback_text if not text else null if is_null(setting, text) and setting_at(setting.path) else text,
            is_read=setting.is_read(self._values) and (self.devices > 1 or not setting.path.startswith(OF_DEVICES)),
            resolved=shown_value(value) if is_reference and check.loaded else "",
            is_set=place is not None,
            is_changed=_raw(layout, setting.path) != _raw(base, setting.path),
            is_default=value == setting.default if check.loaded else text in ("", shown_value(setting.default)),
            is_long=is_long,
            override=override,
            problems=tuple(one.message for one in check.problems if _concerns(one, setting.path)),
            line=row_of(self.text, place.key.start) + 1 if place else None,
        )

    def _value(self, setting: Setting) -> Any:
        """The value in force, by the newest state that was valid."""
        self.check()
        return self._values.get(setting.path, setting.default)

    def _null_text(self, setting: Setting) -> str:
        """The word for null and, if known, the value that the run uses then: `auto (=4)`."""
        value = self._values.get(setting.path)
        used = self._effective.get(setting.path) if value is None else value
        is_known = used is not None and self.check().loaded is not None
        return f"{setting.unset} (={shown_value(used)})" if is_known else setting.unset

    def _fallback(self, setting: Setting) -> Any:
        """The value of a setting that is not written: that of the weights, its preset's, or its default."""
        loaded, layout = self.check().loaded, self.layout()
        if loaded is not None and loaded.origins.get(setting.path) == "weights":
            return self._value(setting)
        preset = layout.places.get("model.preset") if layout else None
        if layout is None or preset is None or setting.path == "model.preset":
            return setting.default
        if "optim.name" in layout.places and setting.path.startswith("optim."):
            return setting.default
        return flatten(expand_preset({"model": {"preset": preset.text}})).get(setting.path, setting.default)

    def _override_of(self, path: str) -> str | None:
        return next((one for one in reversed(self.overrides) if _key(one) == path), None)


def _deciding(layout: Layout) -> dict[str, Any]:
    """What a text writes into the settings that decide which others a run reads."""
    paths = {path for setting in settings().values() for one in setting.when for path, _ in one}
    written = {path: layout.places[path] for path in paths if path in layout.places}
    return {path: scalar(place.text) for path, place in written.items() if place.kind == "scalar" and place.text}


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _layout(text: str) -> Layout | None:
    try:
        return read_layout(text)
    except Unreadable:
        return None


def _concerns(problem: Problem, path: str) -> bool:
    return path in (problem.path, *problem.also) or problem.path.startswith(f"{path}[")


def _raw(layout: Layout | None, path: str) -> tuple[object, ...]:
    """What is written at a path, in a form that compares: absent, a scalar, or a list."""
    place = layout.places.get(path) if layout else None
    if layout is None or place is None:
        return ()
    inner = [leaf for name, leaf in layout.leaves.items() if name == path or name.startswith((f"{path}[", f"{path}."))]
    return (True, place.text, *inner)


def _field_text(text: str, place: Place, setting: Setting) -> tuple[str, bool]:
    """A written value as its field shows it, and whether it is too long for a field."""
    source = text[place.value.start : place.value.end]
    if place.kind in ("block list", "flow list") and place.items is not None:
        return shown_items(tuple(item.text for item in place.items)), False
    is_text = setting.kind in ("text", "choice") and setting_at(setting.path) is not None
    if place.kind == "scalar" and is_text and (place.style is not None or not source.isprintable()):
        return shown_words(place.text), "\n" in place.text
    if not source.isprintable():
        return sanitize(source), True
    # Unquoted, `null` is no text.
    return source or ("null" if is_text else ""), False


# Lines of an editor --------------------------------------------------------------------


def visual_lines(text: str) -> list[str]:
    """The lines that Textual's editor makes of a text."""
    lines = text.splitlines()
    return [*lines, ""] if not text or text.endswith(("\n", "\r")) else lines


def row_of(text: str, at: int) -> int:
    """The line of a character, from 0, as Textual's editor counts."""
    return len(visual_lines(text[:at])) - 1


def merged(text: str, lines: Sequence[str]) -> str:
    """`text` with the lines of an editor; what the editor did not touch keeps its characters and line ends."""
    old, new = "\n".join(visual_lines(text)), "\n".join(lines)
    if old == new:
        return text
    same = _common(old, new)
    tail = min(_common(old[::-1], new[::-1]), min(len(old), len(new)) - same)
    kept = text.splitlines(keepends=True)
    starts, flat = [0], [0]
    for line in kept:
        starts.append(starts[-1] + len(line))
        flat.append(flat[-1] + len(line.splitlines()[0]) + 1)

    def real(at: int) -> int:
        row = min(bisect.bisect_right(flat, at) - 1, len(starts) - 1)
        return min(starts[row] + at - flat[row], len(text))

    end = edits.newline(text)
    return text[: real(same)] + new[same : len(new) - tail].replace("\n", end) + text[real(len(old) - tail) :]


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
