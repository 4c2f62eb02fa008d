"""One setting of the form: mark, name, control, note, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from chomp.config import Setting
from chomp.config.compat import Severity
from chomp.events.text import defused
from chomp_tui.dialogs import Choice, Choose
from chomp_tui.edit.document import FieldView

PROBLEM, CHANGED, SET = "✗", "●", "◆"
# Cells before a name, and those kept for the note.
MARK_CELLS, NOTE_CELLS = 3, 12
_VERDICTS = {"free": ("free", "$muted"), "judged": ("to accept", "$warning"), "fixed": ("fixed", "$muted")}


class Pick(Widget, can_focus=True):
    """One of a few words on one line: arrows and Space go through them, Enter lists them, Delete is the default."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "step(1)", "Next", show=False),
        Binding("left", "step(-1)", "Previous", show=False),
        Binding("enter", "list", "List", show=False),
        Binding("delete,backspace", "clear", "Default", show=False),
    ]
    value: reactive[str] = reactive("")
    fallback: reactive[str] = reactive("")

    @dataclass
    class Picked(Message):
        """A word was picked; empty for the default."""

        pick: Pick
        value: str

        @property
        def control(self) -> Pick:
            return self.pick

    def __init__(self, options: Sequence[str], *, title: str) -> None:
        super().__init__()
        self.options = tuple(options)
        self._title = title

    def render(self) -> Content:
        """The word in force, dim where it is the default."""
        word = defused(self.value or self.fallback)
        style = "" if self.value else "$muted"
        return Content.assemble((word, style), (" ▾", "$muted")) if not self.has_focus else Content(f"{word} ▾")

    def action_step(self, by: int) -> None:
        """Pick the next word, or the one before."""
        now = self.value or self.fallback
        at = self.options.index(now) + by if now in self.options else 0
        self.post_message(self.Picked(self, self.options[at % len(self.options)]))

    def action_clear(self) -> None:
        """Go back to the default."""
        self.post_message(self.Picked(self, ""))

    def action_list(self) -> None:
        """Show all words."""
        letters = "123456789abcdefghijkl"
        choices = [Choice(word, letter, word) for word, letter in zip(self.options, letters, strict=False)]

        def chosen(word: str | None) -> None:
            if word is not None:
                self.post_message(self.Picked(self, word))

        self.app.push_screen(Choose(self._title, choices), chosen)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_list()


class FieldRow(Widget):
    """One row of the form; what stands beside the control is drawn by the row itself.

    Args:
        full_name: show the dotted path in place of its last part.
        severity: what a change would mean to the checkpoint that is forked.
        name_cells: room for the name, equal for all rows in sight.
    """

    @dataclass
    class Edited(Message):
        """A value was typed or picked."""

        row: FieldRow
        path: str
        value: str

    @dataclass
    class Cleared(Message):
        """A setting goes back to its default."""

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
        options = _options(self.setting)
        yield Pick(options, title=self.setting.path) if options else Input(compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        self.control.styles.margin = (0, NOTE_CELLS + 1, 0, MARK_CELLS + self._name_cells + 1)
        self.show(self.view)

    @property
    def control(self) -> Pick | Input:
        """The widget that takes the focus."""
        control = self.children[0]
        assert isinstance(control, (Pick, Input))
        return control

    def show(self, view: FieldView, *, force: bool = True) -> None:
        """Draw a setting's present state.

        Args:
            force: also replace the text that is being typed.
        """
        problems_before = self._lines()
        self.view = view
        control = self.control
        if isinstance(control, Pick):
            control.value, control.fallback = view.text, view.fallback
        else:
            self._fill(control, view, force=force)
        self.set_class(bool(view.problems), "-wrong")
        self.refresh(layout=self._lines() != problems_before)

    def _fill(self, control: Input, view: FieldView, *, force: bool) -> None:
        control.placeholder = view.fallback
        control.disabled = view.is_long
        text = _long_text(view.text) if view.is_long else view.text
        if (force or not control.has_focus) and control.value != text:
            with control.prevent(Input.Changed):
                control.value = text

    # What the person does --------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        # An empty field is on its way to another value until it is left.
        if event.value.strip() and event.value != self.view.text:
            self.post_message(self.Edited(self, self.setting.path, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._settle(event.value)
        self.screen.focus_next()

    def on_input_blurred(self, event: Input.Blurred) -> None:
        event.stop()
        self._settle(event.value)

    def _settle(self, value: str) -> None:
        if not value.strip() and not self.view.is_long and (self.view.is_set or self.view.override):
            self.post_message(self.Cleared(self, self.setting.path))

    def on_pick_picked(self, event: Pick.Picked) -> None:
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
        return [defused(problem) for problem in self.view.problems]

    def render(self) -> Content:
        """Mark, name and note around the control, problems below it."""
        view, width = self.view, self.size.width
        mark = (PROBLEM, "$error") if view.problems else (CHANGED, "$accent") if view.is_changed else (" ", "")
        kept = (SET, "$primary") if not view.is_default else (" ", "")
        name = defused(self.setting.path if self._full_name else self.setting.path.rpartition(".")[2])
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
        """A few words at the right: what wins, what a reference amounts to, what a change would mean, the unit."""
        view = self.view
        if view.override:
            return _clip(f"-o {defused(view.override.partition('=')[2])}"), "$warning"
        if self._severity is not None:
            word, tone = _VERDICTS[self._severity]
            changed = view.is_changed and self._severity == "fixed"
            return word, "$error" if changed else tone
        if view.resolved:
            return _clip(f"= {defused(view.resolved)}"), "$muted"
        return view.setting.unit or "", "$muted"


def _options(setting: Setting) -> tuple[str, ...]:
    """The words of a setting that has only a few values; empty for one that is typed."""
    words = setting.choices if setting.kind == "choice" else ("true", "false") if setting.kind == "bool" else ()
    return (*words, "null") if words and setting.optional else words


def _clip(text: str, limit: int = NOTE_CELLS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _long_text(text: str) -> str:
    return f"{text.count(chr(92) + 'n') + text.count(chr(10)) + 1} lines: edit in the YAML (F4)"
