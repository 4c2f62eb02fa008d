"""The YAML: an editor with colours and marks, and the list of its problems."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual._text_area_theme import TextAreaTheme
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.strip import Strip
from textual.widgets import OptionList
from textual.widgets.option_list import Option
from textual.widgets.text_area import LanguageDoesNotExist

from chomp.config import Problem
from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.config.document import ConfigDocument, visual_lines
from chomp_tui.config.history import new_edit
from chomp_tui.screens.configure.literal_text import LiteralTextArea

THEME = "chomp"
RESTING, EDITING = "Enter edits", "editing, Esc ends"
# A change after a pause is undone alone.
PAUSE_SECONDS = 2.0
# Tree-sitter's token types -> the theme's variable for their colour.
_COLOURS = {
    "yaml.field": "primary",
    "string": "foreground",
    "number": "chart-second",
    "boolean": "accent",
    "constant.builtin": "accent",
    "comment": "muted",
    "type": "success",
    "punctuation.special": "success",
    "error": "error",
}
_INDENT = re.compile(r"[ ]*")


class YamlEditor(LiteralTextArea):
    """A text editor for one configuration; lines with a problem carry a mark beside their number.

    It changes nothing until Enter or a click begins an edit; Esc, or leaving it, ends that.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("yaml")]

    @dataclass
    class Turned(Message):
        """An edit has begun or ended."""

        is_editing: bool

    def __init__(self) -> None:
        super().__init__(
            id="yaml-text",
            soft_wrap=False,
            show_line_numbers=True,
            tab_behavior="indent",
            compact=True,
            max_checkpoints=1,
            read_only=True,
        )
        self.indent_width = 2
        self._edit, self._edited_row, self._edited_at = 0, -1, 0.0
        self._wrong: frozenset[int] = frozenset()

    def on_mount(self) -> None:
        try:
            self.language = "yaml"
        except LanguageDoesNotExist:
            # tree-sitter is installed without its YAML grammar: no colours.
            self.language = None
        self._colour()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._colour())

    def _colour(self) -> None:
        variables = self.app.theme_variables
        styles = {name: Style(color=variables.get(role)) for name, role in _COLOURS.items() if role in variables}
        styles["comment"] = styles.get("comment", Style()) + Style(italic=True)
        self.register_theme(TextAreaTheme(THEME, syntax_styles=styles))
        self.theme = THEME

    def show_lines(self, lines: Sequence[str]) -> None:
        """Show a text by replacing only the lines that differ, so that cursor and scroll stay."""
        old = self.document.lines
        if list(lines) == list(old):
            return
        same = _common(old, lines)
        tail = min(_common(old[::-1], lines[::-1]), min(len(old), len(lines)) - same)
        first, last = same, len(old) - tail
        new = list(lines[same : len(lines) - tail])
        if first == last or not new:
            # Whole lines are added or removed, with the line end before them; at the top, with the one after them.
            start = (first - 1, len(old[first - 1])) if first else (0, 0)
            end = (last - 1, len(old[last - 1])) if first or last == len(old) else (last, 0)
            text = "".join(f"\n{line}" for line in new) if first else "".join(f"{line}\n" for line in new)
        else:
            start, end, text = (first, 0), (last - 1, len(old[last - 1])), "\n".join(new)
        self.replace(text, start, end, maintain_selection_offset=True)
        if list(lines) != list(self.document.lines):
            self.load_text("\n".join(lines))
        self.history.clear()

    def mark_lines(self, lines: Iterable[int]) -> None:
        """Mark lines, counted from 1, as wrong."""
        wrong = frozenset(lines)
        if wrong != self._wrong:
            self._wrong = wrong
            self._line_cache.clear()
            self.refresh()

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        if line_index + 1 in self._wrong:
            line.stylize(Style(underline=True))
        return line

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if self.scroll_offset.y + y + 1 not in self._wrong or self.gutter_width < 2:
            return strip
        at = self.gutter_width - 2
        colour = self.app.theme_variables.get("error")
        mark = Strip([Segment("✗", Style(color=colour, bold=True) + Style(bgcolor=self.rich_style.bgcolor))], 1)
        return Strip.join([strip.crop(0, at), mark, strip.crop(at + 1)])

    # Editing ---------------------------------------------------------------------------

    def action_edit(self) -> None:
        """Begin an edit at the cursor."""
        self._turn(is_editing=True)

    def action_leave(self) -> None:
        """End the edit."""
        self._turn(is_editing=False)

    def _turn(self, *, is_editing: bool) -> None:
        if self.read_only is is_editing:
            self.read_only = not is_editing
            self._edited_row = -1
            self.post_message(self.Turned(is_editing))
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter begins an edit and Esc ends it, each only where it can."""
        if action in ("edit", "leave"):
            return self.read_only is (action == "edit")
        return super().check_action(action, parameters)

    def edit_number(self) -> int:
        """The edit to which a change at the cursor belongs: another one on another line, or after a pause."""
        now, row = time.monotonic(), self.cursor_location[0]
        if row != self._edited_row or now - self._edited_at > PAUSE_SECONDS:
            self._edit = new_edit()
        self._edited_row, self._edited_at = row, now
        return self._edit

    def on_blur(self) -> None:
        if self.app.app_focus:
            self.action_leave()

    def on_mouse_down(self) -> None:
        self.action_edit()

    def on_key(self, event: events.Key) -> None:
        """A new line begins where the one above does, one step deeper below a section's name."""
        if event.key == "escape":
            # Textual's editor would focus the next widget; here Esc goes on to its binding, or to the screen.
            event.prevent_default()
        elif event.key == "enter" and not self.read_only:
            row, column = self.selection.end
            before = self.document.get_line(row)[:column]
            indent = _INDENT.match(before)
            deeper = "  " if before.split("#")[0].rstrip().endswith(":") else ""
            event.prevent_default()
            event.stop()
            self.replace(f"\n{indent[0] if indent else ''}{deeper}", *self.selection, maintain_selection_offset=False)


class YamlPane(Vertical):
    """The editor and, below it, the problems."""

    BORDER_TITLE = "YAML"
    BORDER_SUBTITLE = RESTING

    @dataclass
    class Chosen(Message):
        """The user chose a problem from the list."""

        problem: Problem

    def __init__(self) -> None:
        super().__init__(id="yaml", classes="panel")
        self._problems: tuple[Problem, ...] = ()

    def compose(self) -> ComposeResult:
        yield YamlEditor()
        yield OptionList(id="problems", compact=True)

    @property
    def editor(self) -> YamlEditor:
        """The text."""
        return self.query_one(YamlEditor)

    def on_yaml_editor_turned(self, event: YamlEditor.Turned) -> None:
        self.border_subtitle = EDITING if event.is_editing else RESTING

    def load(self, document: ConfigDocument) -> None:
        """Show another document, from its top on."""
        self.editor.load_text("\n".join(visual_lines(document.text)))

    def show_document(self, document: ConfigDocument) -> None:
        """Show the text as it is now; cursor and scroll stay."""
        self.editor.show_lines(visual_lines(document.text))

    def show_problems(self, problems: tuple[Problem, ...]) -> None:
        """List the problems, and mark their lines."""
        self.editor.mark_lines(one.line for one in problems if one.line is not None)
        if problems == self._problems:
            return
        self._problems = problems
        listing = self.query_one("#problems", OptionList)
        listing.clear_options()
        listing.add_options([Option(_line(problem)) for problem in problems])
        listing.highlighted = 0 if problems else None
        listing.display = bool(problems)

    def go_to(self, line: int, column: int = 1) -> None:
        """Put the cursor on a line, counted from 1, and bring it into view."""
        row = max(0, min(line, self.editor.document.line_count) - 1)
        self.editor.move_cursor((row, column - 1), center=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._problems[event.option_index]))


def position(problem: Problem) -> tuple[int, int] | None:
    """Line and column of a problem, from 1; None if it has no place in the file."""
    if problem.line is None:
        return None
    _, _, last = problem.where.rpartition(f":{problem.line}:")
    return problem.line, int(last) if last.isdecimal() else 1


def _line(problem: Problem) -> Content:
    at = position(problem)
    place = f"{at[0]}:{at[1]}" if at and not problem.path else str(at[0]) if at else problem.where
    name = f" {problem.path}" if problem.path else ""
    return Content.assemble(
        ("✗ ", "$error"), (f"{sanitize(place)}{sanitize(name)}", "bold"), f" {sanitize(problem.message)}"
    )


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
