"""The three pages of the configure screen: form, YAML and figures; the width decides how many are visible."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Container

from chomp_tui.config.document import ConfigDocument
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.preflight_panel import PreflightPanel
from chomp_tui.screens.configure.yaml_editor import YamlPane, position

PAGES = ("form", "yaml", "preflight")


class Pages(Container):
    """Shows one page; the screen's class `-show-PAGE` names it to the styles."""

    def compose(self) -> ComposeResult:
        yield ConfigForm()
        yield YamlPane()
        yield PreflightPanel()

    @property
    def page(self) -> str:
        """The page that is shown; where several are visible, the one that was chosen last."""
        return next((page for page in PAGES if self.screen.has_class(f"-show-{page}")), "form")

    def turn_to(self, page: str) -> None:
        """Show a page."""
        for one in PAGES:
            self.screen.set_class(one == page, f"-show-{one}")

    def turn(self, document: ConfigDocument) -> None:
        """Show and focus the next page; in the YAML, the line of the setting that had the cursor."""
        at = next((i for i, page in enumerate(PAGES) if self.query_one(f"#{page}").has_focus_within), None)
        page = PAGES[((PAGES.index(self.page) if at is None else at) + 1) % len(PAGES)]
        path = self.query_one(ConfigForm).current
        self.turn_to(page)
        if page == "form":
            self.query_one(ConfigForm).focus_field()
        elif page == "yaml":
            self._focus_line(document.line_of(path) if path else None)
        else:
            self.query_one(PreflightPanel).focus()

    async def go_to(self, document: ConfigDocument, path: str) -> None:
        """Put the cursor on a setting, in the form if it has a field there."""
        self.turn_to("form")
        if not await self.query_one(ConfigForm).focus_path(path):
            self.turn_to("yaml")
            self._focus_line(document.line_of(path))

    def go_to_place(self, problem: Any) -> None:
        """Put the cursor on the place of a problem in the YAML."""
        self.turn_to("yaml")
        pane = self.query_one(YamlPane)
        at = position(problem)
        if at is not None:
            pane.go_to(*at)
        pane.editor.focus()

    def _focus_line(self, line: int | None) -> None:
        pane = self.query_one(YamlPane)
        if line is not None:
            pane.go_to(line)
        pane.editor.focus()
