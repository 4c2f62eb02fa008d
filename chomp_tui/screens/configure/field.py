"""One setting of the form: mark, name, control, note, problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from chomp.config import Setting
from chomp.config.compat import Severity
from chomp.config.yaml_reader import scalar
from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import FieldView
from chomp_tui.screens.configure.text_field import TextField
from chomp_tui.widgets.dialogs import Choice, Choose

PROBLEM, CHANGED, SET = "✗", "●", "◆"
# Cells before a name, and those kept for the note.
MARK_CELLS, NOTE_CELLS = 3, 12
_VERDICTS = {
    "allowed": ("may change", "$muted"),
    "needs_accept": ("to confirm", "$warning"),
    "incompatible": ("fixed", "$muted"),
}


class Control(Widget, can_focus=True):
    """Shows one of a few words and posts `Picked` when the user picks another; the row then updates it."""

    value: reactive[str] = reactive("")
    fallback: reactive[str] = reactive("")

    @dataclass
    class Picked(Message):
        """The user picked a word; empty for the default."""

        picked_in: Control
        value: str

        @property
        def control(self) -> Control:
            return self.picked_in

    def pick(self, word: str) -> None:
        """Post that the user picked a word."""
        self.post_message(self.Picked(self, word))

    def action_clear(self) -> None:
        """Reset to the default."""
        self.pick("")


class Pick(Control):
    """A choice on one line: arrows and Space step through the words, Enter lists them, Delete resets to the default."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("pick")]

    def __init__(self, options: Sequence[str], *, title: str) -> None:
        super().__init__()
        self.options = tuple(options)
        self._title = title

    def render(self) -> Content:
        """The current word, dim if it is the default."""
        word = sanitize(self.value or self.fallback)
        style = "" if self.value else "$muted"
        return Content.assemble((word, style), (" ▾", "$muted")) if not self.has_focus else Content(f"{word} ▾")

    def action_step(self, by: int) -> None:
        """Pick the next word, or the previous one."""
        now = self.value or self.fallback
        at = self.options.index(now) + by if now in self.options else 0
        self.pick(self.options[at % len(self.options)])

    def action_list(self) -> None:
        """Show all words."""
        letters = "123456789abcdefghijkl"
        choices = [Choice(word, letter, word) for word, letter in zip(self.options, letters, strict=False)]

        def chosen(word: str | None) -> None:
            if word is not None:
                self.pick(word)

        self.app.push_screen(Choose(self._title, choices), chosen)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_list()


class Toggle(Control):
    """A switch: Space, Enter and a click toggle it, the arrows turn it on and off, Delete resets to the default."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("switch")]
    # The value, if the text is a reference to a variable.
    resolved: reactive[str] = reactive("")

    @property
    def is_on(self) -> bool | None:
        """On or off; None for `null` and for a wrong word."""
        # By the rules of the file, in which `yes` and `off` are booleans.
        state = scalar(self.resolved or self.value or self.fallback)
        return state if isinstance(state, bool) else None

    def render(self) -> Content:
        """A box and a word, readable without colour; dim if it is the default."""
        is_on, text = self.is_on, sanitize(self.value or self.fallback)
        mark, word = ("[–]", text) if is_on is None else ("[x]", "on") if is_on else ("[ ]", "off")
        tone = "$muted" if not self.value else "$success" if is_on else "" if is_on is False else "$warning"
        note = f"  {text}" if self.resolved else ""
        whole = Content.assemble((f"{mark} {word}", tone), (note, "$muted"))
        return Content(whole.plain) if self.has_focus else whole

    def action_turn_over(self) -> None:
        """Toggle it; if it is neither on nor off, turn it on."""
        self.action_turn(not self.is_on)

    def action_turn(self, on: bool) -> None:
        """Turn it on or off."""
        self.pick("true" if on else "false")

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_turn_over()


class FieldRow(Widget):
    """One row of the form; the row itself draws the text around the control.

    Args:
        full_name: show the dotted path in place of its last part.
        severity: what a change means for the forked checkpoint.
        name_cells: width of the name column.
    """

    @dataclass
    class Edited(Message):
        """The user typed or picked a value."""

        row: FieldRow
        path: str
        value: str

    @dataclass
    class Cleared(Message):
        """The user reset a setting to its default."""

        row: FieldRow
        path: str

    @dataclass
    class Entered(Message):
        """The row got the focus."""

        row: FieldRow

    @dataclass
    class Left(Message):
        """The row lost the focus."""

        row: FieldRow

    def __init__(
        self, view: FieldView, *, full_name: bool = False, severity: Severity | None = None, name_cells: int = 25
    ) -> None:
        super().__init__()
        self.view = view
        self._name_cells = name_cells
        self._full_name = full_name
        self._severity = severity

    @property
    def setting(self) -> Setting:
        return self.view.setting

    def compose(self):  # type: ignore[no-untyped-def]
        yield _control(self.setting)

    def on_mount(self) -> None:
        self.control.styles.margin = (0, NOTE_CELLS + 1, 0, MARK_CELLS + self._name_cells + 1)
        self.show(self.view)

    @property
    def control(self) -> Control | TextField:
        """The widget that takes the focus."""
        control = self.children[0]
        assert isinstance(control, (Control, TextField))
        return control

    def show(self, view: FieldView, *, force: bool = True) -> None:
        """Draw a setting's current state.

        Args:
            force: also replace the text that the user is typing.
        """
        problems_before = self._lines()
        self.view = view
        control = self.control
        if isinstance(control, Control):
            control.value, control.fallback = view.text, view.fallback
            if isinstance(control, Toggle):
                control.resolved = view.resolved
        else:
            self._fill(control, view, force=force)
        self.set_class(bool(view.problems), "-wrong")
        self.refresh(layout=self._lines() != problems_before)

    def _fill(self, control: TextField, view: FieldView, *, force: bool) -> None:
        control.placeholder = view.fallback
        control.disabled = view.is_long
        text = _long_text(view.text) if view.is_long else view.text
        if (force or not control.has_focus) and control.value != text:
            with control.prevent(Input.Changed):
                control.value = text

    # Input -----------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        # An empty field means the default only once the user leaves it.
        if event.value.strip():
            self.post_message(self.Edited(self, self.setting.path, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._settle(event.value)
        # Not beyond the last field: Textual would focus the YAML, and the next keys would edit it.
        beside = self.parent.children if self.parent is not None else ()
        rows = [row for row in beside if isinstance(row, FieldRow)]
        for following in rows[rows.index(self) + 1 :][:1]:
            following.control.focus()

    def on_input_blurred(self, event: Input.Blurred) -> None:
        event.stop()
        self._settle(event.value)

    def _settle(self, value: str) -> None:
        if not value.strip() and not self.view.is_long and (self.view.is_set or self.view.override):
            self.post_message(self.Cleared(self, self.setting.path))

    def on_control_picked(self, event: Control.Picked) -> None:
        event.stop()
        if event.value:
            self.post_message(self.Edited(self, self.setting.path, event.value))
        else:
            self.post_message(self.Cleared(self, self.setting.path))

    def on_descendant_focus(self) -> None:
        self.post_message(self.Entered(self))

    def on_descendant_blur(self) -> None:
        self.post_message(self.Left(self))

    # Drawing ---------------------------------------------------------------------------

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, and those of the problems."""
        return 1 + self._lines(width)

    def _lines(self, width: int | None = None) -> int:
        columns = max(10, (width or self.size.width or 60) - 4)
        return sum(len(Content(line).wrap(columns)) for line in self._below())

    def _below(self) -> list[str]:
        return [sanitize(problem) for problem in self.view.problems]

    def render(self) -> Content:
        """Mark, name and note around the control, problems below it."""
        view, width = self.view, self.size.width
        mark = (PROBLEM, "$error") if view.problems else (CHANGED, "$accent") if view.is_changed else (" ", "")
        kept = (SET, "$primary") if not view.is_default else (" ", "")
        name = sanitize(self.setting.path if self._full_name else self.setting.path.rpartition(".")[2])
        style = "$error" if view.problems else "" if view.is_set or view.override else "$muted"
        left = Content.assemble(mark, kept, " ", (name, style))
        note, tone = self._note()
        room = max(0, width - left.cell_length - len(note))
        line = Content.assemble(left, " " * room, (note, tone))
        below = [
            Content.styled(f"    {row.plain}", "$error")
            for text in self._below()
            for row in Content(text).wrap(max(10, width - 4))
        ]
        return Content("\n").join([line, *below])

    def _note(self) -> tuple[str, str]:
        """At the right: the override, the value of a reference, what a change means for a fork, or the unit."""
        view = self.view
        if view.override:
            return _clip(f"-o {sanitize(view.override.partition('=')[2])}"), "$warning"
        if self._severity is not None:
            word, tone = _VERDICTS[self._severity]
            changed = view.is_changed and self._severity == "incompatible"
            return word, "$error" if changed else tone
        if view.resolved:
            return _clip(f"= {sanitize(view.resolved)}"), "$muted"
        return view.setting.unit or "", "$muted"


def _control(setting: Setting) -> Control | TextField:
    """A switch for booleans, a choice for a few words, a text field for all else."""
    # A switch shows `null` only as its default.
    if setting.kind == "bool" and (not setting.optional or setting.default is None):
        return Toggle()
    words = setting.choices if setting.kind == "choice" else ("true", "false") if setting.kind == "bool" else ()
    if not words:
        return TextField()
    return Pick((*words, "null") if setting.optional else words, title=setting.path)


def _clip(text: str, limit: int = NOTE_CELLS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _long_text(text: str) -> str:
    return f"{text.count(chr(92) + 'n') + text.count(chr(10)) + 1} lines: edit in the YAML (F4)"
