"""The rows of one section of the form, and the help for one of them."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chomp.config import setting_at
from chomp.record.formatting import sanitize
from chomp_tui.config.document import FieldView
from chomp_tui.screens.configure.field import FieldRow

# Of a choice, words that its help names.
MOST_NAMED = 8


class FieldPane(VerticalScroll, can_focus=False):
    """The rows of one section, or of a search."""

    def rows(self) -> list[FieldRow]:
        """All rows, also those that are folded away."""
        return [child for child in self.children if isinstance(child, FieldRow)]

    def fold(self, *, show_all: bool) -> int:
        """Show rows that the run reads, or all of them, under their headings; returns how many are not shown."""
        rows = self.rows()
        shown = [row for row in rows if show_all or row.view.is_needed]
        for row in rows:
            row.display = row in shown
        groups = list(dict.fromkeys(row.setting.group for row in shown))
        for heading in self.query_children(Heading):
            heading.display = len(groups) > 1 and heading.group in groups
            heading.set_class(heading.group == groups[0] if groups else False, "-first")
        cells = max((row.wanted_cells for row in shown), default=0)
        for row in shown:
            row.widen(cells)
        return len(rows) - len(shown)


class Heading(Static):
    """The name of a group of settings."""

    def __init__(self, group: str) -> None:
        super().__init__(Content(group), classes="group")
        self.group = group


def help_text(view: FieldView) -> Content:
    """A setting's meaning, its allowed values, and the source of its value."""
    setting = view.setting
    kind = setting.expected.removesuffix(", or null") if setting_at(setting.path) else "any value"
    if len(setting.choices) > MOST_NAMED:
        kind = f"one of {len(setting.choices)} words: Enter lists them"
    unit = f", in {setting.unit}" if setting.unit and setting.kind != "choice" else ""
    came = f"line {view.line}" if view.line else "not written"
    if view.override:
        came = f"-o {sanitize(view.override)} wins; editing the field drops it"
    if not view.is_read:
        came += f" · not read: needs {setting.needs or 'several devices'}"
    default = f"default {sanitize(view.fallback)}" if setting_at(setting.path) else "a variable"
    return Content.assemble(
        (sanitize(setting.path), "bold $primary"),
        (f"  {kind}{unit}", "$muted"),
        f"\n{sanitize(setting.help)}\n",
        (f"{default} · {came}", "$muted"),
    )
