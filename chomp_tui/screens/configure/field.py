"""One setting of the form: mark, name, control, note, problems."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from chomp.config import Setting
from chomp.config.compat import Severity
from chomp.record.formatting import sanitize
from chomp_tui.config.document import FieldView
from chomp_tui.screens.configure.controls import Control, Pick, Toggle
from chomp_tui.screens.configure.text_field import TextField

PROBLEM, CHANGED, SET = "✗", "●", "◆"
# Cells before a name, and the most for the note.
MARK_CELLS, NOTE_CELLS = 3, 12
# Lines of a long value while it is edited.
MOST_LINES = 8
_VERDICTS = {
    "allowed": ("may change", "$muted"),
    "needs_accept": ("to confirm", "$warning"),
    "incompatible": ("fixed", "$muted"),
}


class FieldRow(Widget):
    """One row of the form; the row itself draws the text around the control.

    Args:
        full_name: show the dotted path in place of its last part.
        severity: what a change means for the forked checkpoint.
    """

    @dataclass
    class Edited(Message):
        """The user has typed or picked a value; empty for the default.

        Attributes:
            edit: see `History.change`; None for a whole edit.
            is_over: whether the edit has ended.
            is_cancelled: whether it counts for nothing.
        """

        row: FieldRow
        value: str
        edit: int | None = None
        is_over: bool = True
        is_cancelled: bool = False

    @dataclass
    class Entered(Message):
        """The row got the focus."""

        row: FieldRow

    def __init__(self, view: FieldView, *, full_name: bool = False, severity: Severity | None = None) -> None:
        super().__init__()
        self.view = view
        self._name_cells = 0
        self._full_name = full_name
        self._severity = severity
        # Whether the control has lines of its own below the name.
        self._is_below = False

    @property
    def setting(self) -> Setting:
        return self.view.setting

    def compose(self):  # type: ignore[no-untyped-def]
        yield _control(self.setting)

    def on_mount(self) -> None:
        self.show(self.view)

    def on_resize(self) -> None:
        self._arrange()

    @property
    def control(self) -> Control:
        """The widget that takes the focus."""
        control = self.children[0]
        assert isinstance(control, Control)
        return control

    def show(self, view: FieldView) -> None:
        """Draw a setting's current state."""
        problems_before = self._lines()
        self.view = view
        self.control.show(view)
        self.set_class(bool(view.problems), "-wrong")
        self._arrange()
        self.refresh(layout=self._lines() != problems_before)

    @property
    def wanted_cells(self) -> int:
        """Width of the name."""
        return cell_len(self._label())

    def _label(self) -> str:
        return sanitize(self.setting.path if self._full_name else self.setting.path.rpartition(".")[2])

    def widen(self, name_cells: int) -> None:
        """Set the width of the name column."""
        if name_cells != self._name_cells:
            self._name_cells = name_cells
            self._arrange()
            self.refresh()

    # Input -----------------------------------------------------------------------------

    def on_text_field_typed(self, event: TextField.Typed) -> None:
        event.stop()
        self._arrange()
        # An empty field means the default only once the user leaves it.
        if event.text.strip() or event.is_over:
            self.post_message(self.edited(event))

    def edited(self, typed: TextField.Typed) -> Edited:
        """What was typed, as a change of the setting."""
        self._arrange()
        return self.Edited(self, typed.text, typed.edit, typed.is_over, typed.is_cancelled)

    def on_control_picked(self, event: Control.Picked) -> None:
        event.stop()
        self.post_message(self.Edited(self, event.value))

    def on_descendant_focus(self) -> None:
        self._arrange()
        self.post_message(self.Entered(self))

    # Drawing ---------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Place the control: beside the name, or below it while a value is edited that is too long there."""
        control, note = self.control, self._note()[0]
        left, right = MARK_CELLS + self._name_cells + 1, cell_len(note) + 1 if note else 0
        editor = control.editor if isinstance(control, TextField) else None
        # The cursor needs a cell behind the text.
        room = self.content_size.width - left - right - 1
        self._is_below = editor is not None and (self._is_below or cell_len(editor.text) > room)
        margin = (1, 1, 0, MARK_CELLS) if self._is_below else (0, right, 0, left)
        if control.styles.margin != margin:
            control.styles.margin = margin
        self.set_class(self._is_below, "-below")
        lines = self._control_lines()
        if control.styles.height is None or control.styles.height.value != lines:
            control.styles.height = lines
            self.refresh(layout=True)
            if self._is_below:
                self.call_after_refresh(self.scroll_visible, animate=False)

    def _control_lines(self) -> int:
        if not self._is_below or not isinstance(self.control, TextField) or self.control.editor is None:
            return 1
        width = max(1, self.content_size.width - MARK_CELLS - 2)
        return min(MOST_LINES, len(Content(f"{sanitize(self.control.editor.text)} ").wrap(width)))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The lines of the name, the control and the problems."""
        return self._is_below + self._control_lines() + self._lines(width)

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
        style = "$error" if view.problems else "" if view.is_set or view.override else "$muted"
        left = Content.assemble(mark, kept, " ", (self._label(), style))
        note, tone = self._note()
        room = max(0, width - left.cell_length - cell_len(note))
        line = Content.assemble(left, " " * room, (note, tone))
        above = [Content("")] * (self._is_below + self._control_lines() - 1)
        below = [
            Content.styled(f"    {row.plain}", "$error")
            for text in self._below()
            for row in Content(text).wrap(max(10, width - 4))
        ]
        return Content("\n").join([line, *above, *below])

    def _note(self) -> tuple[str, str]:
        """At the right: the override, what a change means for a fork, the value of a reference, or the unit."""
        view = self.view
        if view.override:
            return _clip(f"-o {sanitize(view.override.partition('=')[2])}"), "$warning"
        if self._severity is not None:
            word, tone = _VERDICTS[self._severity]
            changed = view.is_changed and self._severity == "incompatible"
            return word, "$error" if changed else tone
        if view.resolved:
            return _clip(f"= {sanitize(view.resolved)}"), "$muted"
        return (view.setting.unit or "") if view.is_read else "not read", "$muted"


def _control(setting: Setting) -> Control:
    """A switch for booleans, a choice for a few words, a text field for all else."""
    # A switch shows `null` only as its default.
    if setting.kind == "bool" and (not setting.optional or setting.default is None):
        return Toggle()
    words = setting.choices if setting.kind == "choice" else ("true", "false") if setting.kind == "bool" else ()
    if not words:
        return TextField()
    return Pick((*words, "null") if setting.optional else words, title=setting.path, unset=setting.unset)


def _clip(text: str, limit: int = NOTE_CELLS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
