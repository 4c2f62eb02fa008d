"""The form: sections on the left, the settings of one of them on the right, help below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chomp.config import Setting, section_at, sections, setting_at, settings
from chomp.config.compat import Severity
from chomp.record.formatting import sanitize
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.entries import entries_of, hint_on, section_around
from chomp_tui.config.finding import found_settings
from chomp_tui.screens.configure.controls import Control, Pick
from chomp_tui.screens.configure.field import CHANGED, PROBLEM, SET, FieldRow
from chomp_tui.screens.configure.field_pane import FieldPane, Heading, help_text
from chomp_tui.screens.configure.text_field import FieldEditor, TextField
from chomp_tui.widgets.name_filter import HiddenInput

VARIABLES, FOUND = "variables", "?"
MAX_FOUND = 40
LEGEND = f"{CHANGED} differs from the file   {SET} not the default   {PROBLEM} problem"


class ConfigForm(Vertical):
    """Shows a document's settings; the rows post messages for changes.

    Args:
        severity: what a change of a setting means for the forked checkpoint; None without one.
    """

    BORDER_TITLE = "Settings"

    def __init__(self) -> None:
        # Not a panel: Textual styles all that is in one anew at each move of the focus, here some two hundred widgets.
        super().__init__(id="form")
        self._document: ConfigDocument | None = None
        self._panes: dict[str, FieldPane] = {}
        self._shown = ""
        self._severity: Callable[[str], Severity] | None = None
        self._help_for: Setting | None = None
        self._shows_all = False

    def compose(self) -> ComposeResult:
        yield HiddenInput(id="find", placeholder="part of a name or of its help; Esc closes")
        with Horizontal(id="form-body"):
            yield OptionList(id="sections", compact=True)
            yield Vertical(id="fields")
        yield Static("", id="stale")
        yield Static("", id="field-help")

    # Showing ---------------------------------------------------------------------------

    async def show_document(self, document: ConfigDocument, severity: Callable[[str], Severity] | None = None) -> None:
        """Show another document from its first section on."""
        self._document, self._severity, self._shown = document, severity, ""
        self._panes.clear()
        self.close_filter()
        await self.query_one("#fields").remove_children()
        names = self._sections()
        listing = self.query_one("#sections", OptionList)
        listing.clear_options()
        listing.add_options([Option(self._section_line(name), id=name) for name in names])
        start = "train" if "train" in names else names[0]
        listing.highlighted = names.index(start)
        await self.open_section(start)
        self.update_views()

    def _sections(self) -> list[str]:
        assert self._document is not None
        names, entries = [VARIABLES] if self._document.variables() else [], entries_of(self._document.layout())
        for name in filter(None, sections()):
            names += [name] if self._has_rows(name) else []
            names += [entry for entry in entries if entries[entry] and section_around(entry) == name]
        return names

    def _has_rows(self, section: str) -> bool:
        assert self._document is not None
        always = self._shows_all or section == self._shown
        return any(always or self._document.view(setting).is_needed for setting in self._settings(section))

    def _settings(self, section: str) -> Iterator[Setting]:
        if section == VARIABLES:
            yield from self._document.variables() if self._document else ()
            return
        if section not in sections():
            yield from entries_of(self._document.layout()).get(section, ()) if self._document else ()
            return
        for path, setting in settings().items():
            if path.rpartition(".")[0] == section:
                yield setting

    async def open_section(self, name: str) -> None:
        """Show one section's settings; its rows are built the first time."""
        if self._document is None or self._shown == name:
            return
        self._shown = name
        # One layout and one paint for the whole section.
        with self.app.batch_update():
            pane = self._panes.get(name)
            if pane and [row.setting for row in pane.rows()] != list(self._settings(name)):
                # A table of numbers has got another entry, or lost one.
                await self._panes.pop(name).remove()
                pane = None
            for one in self._panes.values():
                one.display = one is pane
            if pane is None:
                rows = self._rows(list(self._settings(name)))
                pane = self._panes[name] = FieldPane(*rows)
                await self.query_one("#fields").mount(pane)
                self._fold(pane)
                self._update_help()
            else:
                self.update_views()

    def _rows(self, chosen: Sequence[Setting], *, full_name: bool = False) -> list[Widget]:
        """Rows under the headings of their groups, each group once."""
        groups: dict[str | None, list[Setting]] = {}
        for setting in chosen:
            groups.setdefault(None if full_name else setting.group, []).append(setting)
        rows: list[Widget] = []
        for group, members in groups.items():
            if group:
                rows.append(Heading(group))
            rows += [self._row(setting, full_name=full_name) for setting in members]
        return rows

    def _row(self, setting: Setting, *, full_name: bool) -> FieldRow:
        assert self._document is not None
        severity = self._severity(setting.path) if self._severity and setting_at(setting.path) else None
        return FieldRow(self._document.view(setting), full_name=full_name, severity=severity)

    def rows(self) -> list[FieldRow]:
        """The visible rows."""
        pane = self._panes.get(self._shown)
        return [row for row in pane.rows() if row.display] if pane else []

    def show_all(self, shows_all: bool | None = None) -> None:
        """Show also settings that the run does not read, or only the others.

        Args:
            shows_all: None changes it.
        """
        self._shows_all = not self._shows_all if shows_all is None else shows_all
        self.update_views()

    @property
    def is_editing(self) -> bool:
        """Whether a text is edited."""
        return any(field.is_editing for field in self.query(TextField))

    def take_edit(self) -> FieldRow.Edited | None:
        """End the edit of a field, and give what was typed; None without one."""
        for row in self.query(FieldRow):
            typed = next((field.take() for field in row.query_children(TextField)), None)
            if typed is not None:
                return row.edited(typed)
        return None

    def update_views(self) -> None:
        """Draw the document; while its text does not parse, keep the last version, greyed."""
        document = self._document
        if document is None:
            return
        check = document.check()
        self.set_class(not check.parses, "-stale")
        self.query_one("#fields").disabled = not check.parses
        if not check.parses:
            why = f"{check.problems[0].message}. The form shows the last version that could be read."
            self.query_one("#stale", Static).update(Content(sanitize(why)))
            return
        pane = self._panes.get(self._shown)
        for row in pane.rows() if pane else ():
            view = document.view(row.setting)
            if view != row.view:
                row.show(view)
        if pane:
            self._fold(pane)
        self._update_sections()
        self._update_help()

    def _fold(self, pane: FieldPane) -> None:
        """Fold away what the run does not read, and say so at the border."""
        hidden = pane.fold(show_all=self._shows_all or self._shown == FOUND)
        text = f"{hidden} not read, a shows them" if hidden else "a hides what is not read" if self._shows_all else ""
        if text != (self.border_subtitle or ""):
            self.border_subtitle = text

    def _update_sections(self) -> None:
        listing = self.query_one("#sections", OptionList)
        names = self._sections()
        if names != [option.id for option in listing.options]:
            option = listing.highlighted_option
            chosen = option.id if option is not None and option.id in names else names[0]
            listing.clear_options()
            listing.add_options([Option(self._section_line(name), id=name) for name in names])
            listing.highlighted = names.index(self._shown if self._shown in names else chosen)
            return
        for name, option in zip(names, listing.options, strict=True):
            line = self._section_line(name)
            if option.prompt != line:
                listing.replace_option_prompt(name, line)

    def _section_line(self, name: str) -> Content:
        assert self._document is not None
        views = [self._document.view(setting) for setting in self._settings(name)]
        wrong = sum(bool(view.problems) for view in views)
        mark = (PROBLEM, "$error") if wrong else (CHANGED, "$accent") if any(v.is_changed for v in views) else (" ", "")
        *outer, last = name.split(".")
        return Content.assemble(mark, f" {'  ' * len(outer)}{last}")

    # Finding ---------------------------------------------------------------------------

    def open_filter(self) -> None:
        """Open the search by name or help."""
        self.add_class("-finding")
        self.query_one("#find", HiddenInput).ask()

    def close_filter(self) -> bool:
        """Show sections again; False if no search was open."""
        if not self.has_class("-finding"):
            return False
        self.remove_class("-finding")
        self.query_one("#find", HiddenInput).put_away()
        pane = self._panes.pop(FOUND, None)
        if pane is not None:
            pane.remove()
        return True

    async def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "find":
            event.stop()
            await self._find(event.value)

    async def _find(self, text: str) -> None:
        if text != self.query_one("#find", Input).value:
            # The user has typed more since.
            return
        words = text.lower().split()
        if not words:
            await self._show_chosen_section()
            return
        entries = entries_of(self._document.layout()) if self._document else ()
        pool = [one for name in (VARIABLES, *sections(), *entries) for one in self._settings(name)]
        found = found_settings(pool, words)
        pane = self._panes.get(FOUND)
        if pane is None:
            pane = self._panes[FOUND] = FieldPane()
            await self.query_one("#fields").mount(pane)
        rows: list[Widget] = self._rows(found[:MAX_FOUND], full_name=True)
        if not found:
            rows = [Static(Content("No setting has that in its name or help."), classes="muted")]
        with self.app.batch_update():
            await pane.remove_children()
            await pane.mount_all(rows)
            self._shown = FOUND
            self._fold(pane)
            for one in self._panes.values():
                one.display = one is pane

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first setting that was found, and edit it at once; a switch stays as it is."""
        if event.input.id == "find":
            event.stop()
            self.focus_field()
            control = self.rows()[0].control if self.rows() else None
            if isinstance(control, TextField):
                await control.action_edit()
            elif isinstance(control, Pick):
                control.action_list()

    # Focus -----------------------------------------------------------------------------

    async def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        # While an arrow key repeats, the sections in between are not shown.
        is_newest = event.option_list.highlighted == event.option_index
        if event.option_id and is_newest and not self.has_class("-finding"):
            await self.open_section(event.option_id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.focus_field()

    async def leave_filter(self) -> None:
        """Close the search; show the section of the setting that had the cursor, or the one that was open before."""
        path = self.current
        if path is not None:
            await self.focus_path(path)
        elif self.close_filter():
            await self._show_chosen_section()
            self.focus_sections()

    async def _show_chosen_section(self) -> None:
        option = self.query_one("#sections", OptionList).highlighted_option
        if option is not None and option.id:
            await self.open_section(option.id)

    def focus_sections(self, name: str | None = None) -> None:
        """Focus the list of sections, with the cursor on one of them or on that around it."""
        listing, names = self.query_one("#sections", OptionList), self._sections()
        while name and name not in names:
            name = name.rpartition(".")[0]
        if name:
            listing.highlighted = names.index(name)
        listing.focus()

    @property
    def section(self) -> str:
        """The section that is shown."""
        return self._shown

    def focus_field(self) -> None:
        """Focus the first visible field."""
        rows = self.rows()
        if rows:
            rows[0].control.focus()

    async def focus_path(self, path: str) -> bool:
        """Show a setting's section and focus its field; False if it has none."""
        section = path.rpartition(".")[0]
        if path not in {setting.path for setting in self._settings(section)}:
            return False
        self.close_filter()
        if section not in self._sections():
            self.show_all(True)
        names = self._sections()
        if section not in names:
            return False
        self.query_one("#sections", OptionList).highlighted = names.index(section)
        await self.open_section(section)
        if path not in {row.setting.path for row in self.rows()}:
            self.show_all(True)
        row = next(row for row in self.rows() if row.setting.path == path)
        row.control.focus()
        # A section that was built just now has no layout yet to scroll in.
        self.call_after_refresh(row.scroll_visible, animate=False)
        return True

    @property
    def current(self) -> str | None:
        """The path of the focused field."""
        return next((row.setting.path for row in self.rows() if row.has_focus_within), None)

    def on_key(self, event: events.Key) -> None:
        """Up and down go through the fields; right goes from the sections into them, and left back."""
        focused = self.screen.focused
        if isinstance(focused, FieldEditor) and focused.is_wrapped:
            return
        if event.key == "right" and focused is self.query_one("#sections"):
            event.stop()
            self.focus_field()
        elif event.key == "left" and isinstance(focused, Control) and not self.has_class("-finding"):
            event.stop()
            self.focus_sections()
        elif event.key in ("up", "down"):
            rows = self.rows()
            at = next((i for i, row in enumerate(rows) if row.has_focus_within), None)
            if at is None and event.key == "down" and focused is self.query_one("#find"):
                event.stop()
                self.focus_field()
            elif at is not None:
                event.stop()
                rows[max(0, min(len(rows) - 1, at + (1 if event.key == "down" else -1)))].control.focus()

    def on_field_row_entered(self, event: FieldRow.Entered) -> None:
        self._help_for = event.row.setting
        self._update_help()

    def on_descendant_blur(self) -> None:
        self.set_class(self.has_focus_within, "-focused")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.on_descendant_blur()
        if event.widget.id in ("sections", "find"):
            self._help_for = None
            self._update_help()

    def _update_help(self) -> None:
        document, setting = self._document, self._help_for
        if document is None:
            return
        section = section_at(self._shown)
        if setting is None:
            head = section.help if section else "Values that settings refer to as $variables.NAME."
            head = f"{head}{hint_on(self._shown)}"
            if self.has_class("-finding"):
                head = "Settings with all these words in their name or help; Enter edits the first, Esc closes."
            text = Content.assemble((head, ""), "\n", (LEGEND, "$muted"))
        else:
            text = help_text(document.view(setting))
        self.query_one("#field-help", Static).update(text)
