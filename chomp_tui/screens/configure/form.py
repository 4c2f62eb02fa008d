"""The form: sections on the left, the settings of one of them on the right, help below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chomp.config import Setting, sections, settings
from chomp.config.compat import Severity
from chomp.record.formatting import sanitize
from chomp_tui.config.document import ConfigDocument, FieldView
from chomp_tui.screens.configure.field import CHANGED, PROBLEM, SET, FieldRow

VARIABLES = "variables"
MAX_FOUND = 40
LEGEND = f"{CHANGED} differs from the file   {SET} not the default   {PROBLEM} problem"


class FieldPane(VerticalScroll, can_focus=False):
    """The rows of one section, or of a search."""

    def __init__(self, section: str, rows: Sequence[Widget] = ()) -> None:
        super().__init__(*rows)
        self.section = section


class ConfigForm(Vertical):
    """Shows a document's settings; the rows post messages for changes.

    Args:
        severity: what a change of a setting means for the forked checkpoint; None without one.
    """

    BORDER_TITLE = "Settings"

    def __init__(self) -> None:
        super().__init__(id="form", classes="panel")
        self._document: ConfigDocument | None = None
        self._panes: dict[str, FieldPane] = {}
        self._shown = ""
        self._severity: Callable[[str], Severity] | None = None
        self._help_for: Setting | None = None

    def compose(self) -> ComposeResult:
        yield Input(placeholder="part of a name or of its help; Esc closes", id="find", compact=True)
        with Horizontal(id="form-body"):
            yield OptionList(id="sections", compact=True)
            yield Vertical(id="fields")
        yield Static("", id="stale")
        yield Static("", id="field-help")

    # Showing ---------------------------------------------------------------------------

    async def show_document(self, document: ConfigDocument, severity: Callable[[str], Severity] | None = None) -> None:
        """Show another document from its first section on."""
        self._document, self._severity = document, severity
        self._panes.clear()
        self.close_filter()
        await self.query_one("#fields").remove_children()
        names = self._sections()
        listing = self.query_one("#sections", OptionList)
        listing.clear_options()
        listing.add_options([Option(self._section_line(name), id=name) for name in names])
        self._shown = ""
        start = "train" if "train" in names else names[0]
        listing.highlighted = names.index(start)
        await self.open_section(start)
        self.update_views()

    def _sections(self) -> list[str]:
        names = [name for name in sections() if name and any(self._settings(name))]
        return [*([VARIABLES] if self._document and self._document.variables() else []), *names]

    def _settings(self, section: str) -> Iterator[Setting]:
        if section == VARIABLES:
            yield from self._document.variables() if self._document else ()
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
            for one in self._panes.values():
                one.display = one is pane
            if pane is None:
                pane = self._panes[name] = FieldPane(name, self._rows(list(self._settings(name))))
                await self.query_one("#fields").mount(pane)
                self._update_help()
            else:
                self.update_views(force=True)

    def _rows(self, chosen: Sequence[Setting], *, full_name: bool = False) -> list[Widget]:
        """Rows under the headings of their groups, each group once."""
        assert self._document is not None
        groups: dict[str | None, list[Setting]] = {}
        for setting in chosen:
            groups.setdefault(None if full_name else setting.group, []).append(setting)
        cells = max((len(_name(setting, full_name)) for setting in chosen), default=0)
        rows: list[Widget] = []
        for group, members in groups.items():
            if group and len(groups) > 1:
                rows.append(Static(Content(group), classes="group"))
            for setting in members:
                severity = self._severity(setting.path) if self._severity and setting.path in settings() else None
                view = self._document.view(setting)
                rows.append(FieldRow(view, full_name=full_name, severity=severity, name_cells=cells))
        return rows

    def rows(self) -> list[FieldRow]:
        """The visible rows."""
        pane = self._panes.get(self._shown)
        return [child for child in pane.children if isinstance(child, FieldRow)] if pane else []

    def update_views(self, *, force: bool = False) -> None:
        """Draw the document; while its text does not parse, keep the last version, greyed.

        Args:
            force: also replace the text that the user is typing.
        """
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
        for row in self.rows():
            view = document.view(row.setting)
            if force or view != row.view:
                row.show(view, force=force)
        self._update_sections()
        self._update_help()

    def _update_sections(self) -> None:
        listing = self.query_one("#sections", OptionList)
        names = self._sections()
        if names != [option.id for option in listing.options]:
            listing.clear_options()
            listing.add_options([Option(self._section_line(name), id=name) for name in names])
            if self._shown in names:
                listing.highlighted = names.index(self._shown)
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
        self.query_one("#find", Input).focus()

    def close_filter(self) -> bool:
        """Show sections again; False if no search was open."""
        if not self.has_class("-finding"):
            return False
        self.remove_class("-finding")
        find = self.query_one("#find", Input)
        with find.prevent(Input.Changed):
            find.value = ""
        pane = self._panes.pop("?", None)
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
        pool = [*(self._document.variables() if self._document else ()), *settings().values()]
        found = [one for one in pool if all(word in f"{one.path} {one.help}".lower() for word in words)]
        pane = self._panes.get("?")
        if pane is None:
            pane = self._panes["?"] = FieldPane("?")
            await self.query_one("#fields").mount(pane)
        rows: list[Widget] = self._rows(found[:MAX_FOUND], full_name=True)
        if not found:
            rows = [Static(Content("No setting has that in its name or help."), classes="muted")]
        with self.app.batch_update():
            await pane.remove_children()
            await pane.mount_all(rows)
            self._shown = "?"
            for one in self._panes.values():
                one.display = one is pane

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "find":
            event.stop()
            self.focus_field()

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

    async def leave_filter(self) -> bool:
        """Close the search and show the section that was open before; False if there was no search."""
        if not self.close_filter():
            return False
        await self._show_chosen_section()
        self.focus_sections()
        return True

    async def _show_chosen_section(self) -> None:
        option = self.query_one("#sections", OptionList).highlighted_option
        if option is not None and option.id:
            await self.open_section(option.id)

    def focus_sections(self) -> None:
        """Focus the list of sections."""
        self.query_one("#sections", OptionList).focus()

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
        names = self._sections()
        if section not in names:
            return False
        self.query_one("#sections", OptionList).highlighted = names.index(section)
        await self.open_section(section)
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
        """Up and down go through the fields; right goes from the sections into them."""
        focused = self.screen.focused
        if event.key == "right" and focused is self.query_one("#sections"):
            event.stop()
            self.focus_field()
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

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if event.widget.id in ("sections", "find"):
            self._help_for = None
            self._update_help()

    def _update_help(self) -> None:
        document, setting = self._document, self._help_for
        if document is None:
            return
        section = sections().get(self._shown)
        if setting is None:
            head = section.help if section else "Values that settings refer to as $variables.NAME."
            if self.has_class("-finding"):
                head = "Settings with all these words in their name or help; Enter goes to the first, Esc closes."
            text = Content.assemble((head, ""), "\n", (LEGEND, "$muted"))
        else:
            text = _help(document.view(setting))
        self.query_one("#field-help", Static).update(text)


def _name(setting: Setting, full_name: bool) -> str:
    return setting.path if full_name else setting.path.rpartition(".")[2]


def _help(view: FieldView) -> Content:
    """A setting's meaning, its allowed values, and the source of its value."""
    setting = view.setting
    kind = setting.expected if setting.path in settings() else "any value"
    unit = f", in {setting.unit}" if setting.unit and setting.kind != "choice" else ""
    came = f"line {view.line}" if view.line else "not written"
    if view.override:
        came = f"-o {sanitize(view.override)} wins; editing the field drops it"
    default = f"default {sanitize(view.fallback)} (leave it empty)" if setting.path in settings() else "a variable"
    return Content.assemble(
        (sanitize(setting.path), "bold $primary"),
        (f"  {kind}{unit}", "$muted"),
        f"\n{sanitize(setting.help)}\n",
        (f"{default} · {came}", "$muted"),
    )
