"""A text drawn row by row looks as one drawn at once, and only its changed rows are drawn again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.geometry import Offset, Region
from textual.selection import SELECT_ALL, Selection
from textual.strip import Strip
from textual.widgets import Static

from chomp_tui.screens.run import text_lines
from chomp_tui.screens.run.text_lines import TextLines
from chomp_tui.widgets.update_if_changed import set_text
from tests.console.hosting import until

WIDTH, HEIGHT = 18, 6
LINES = st.lists(
    st.tuples(st.text("ab ñ漢[é", max_size=24), st.sampled_from(["", "bold", "$error", "underline"])),
    max_size=HEIGHT + 2,
)


class Beside(App[None]):
    """The same text in both ways."""

    CSS = f"TextLines, Static {{ width: {WIDTH}; height: {HEIGHT}; }}"

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield TextLines()
            yield Static(markup=False)

    @property
    def rows(self) -> TextLines:
        return self.query_one(TextLines)

    def show(self, text: Content) -> None:
        self.rows.show(text)
        self.query_one(Static).update(text)

    def drawn(self, kind: type[TextLines] | type[Static]) -> list[list[tuple[str, Any]]]:
        strips = self.query_one(kind).render_lines(Region(0, 0, WIDTH, HEIGHT))
        return [cells(strip) for strip in strips]


def cells(strip: Strip) -> list[tuple[str, Any]]:
    """Characters with what is seen of their style."""
    return [
        (char, (style.color, style.bgcolor, style.bold, style.underline) if style is not None else None)
        for text, style, _ in strip
        for char in text
    ]


def text_of(lines: list[tuple[str, str]]) -> Content:
    return Content("\n").join([Content.styled(line, style) for line, style in lines])


async def test_any_texts_one_after_another_look_as_if_drawn_at_once() -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:

        @settings(max_examples=60, deadline=None)
        @given(LINES)
        def one_more(lines: list[tuple[str, str]]) -> None:
            app.show(text_of(lines))
            assert app.drawn(TextLines) == app.drawn(Static)

        await pilot.pause()
        one_more()


async def test_lines_that_no_longer_wrap_move_up() -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        for first in ("short", "a line " * 6, "short"):
            app.show(Content(f"{first}\nsecond\nthird"))
            await pilot.pause()
            assert app.drawn(TextLines) == app.drawn(Static)


async def test_only_rows_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        app.show(Content("loss 3.1\nspeed 5\nstep 7"))
        await pilot.pause()
        drawn: list[str] = []
        to_strips = text_lines.Visual.to_strips

        def counted(widget: Any, visual: Any, *args: Any, **kwargs: Any) -> list[Strip]:
            if isinstance(widget, TextLines):
                drawn.append(str(visual))
            return to_strips(widget, visual, *args, **kwargs)

        monkeypatch.setattr(text_lines.Visual, "to_strips", counted)
        app.rows.show(Content("loss 3.0\nspeed 5\nstep 8"))
        await pilot.pause()
        assert drawn == ["loss 3.0", "step 8"]
        app.rows.show(Content("loss 3.0\nspeed 5\nstep 8"))
        await pilot.pause()
        assert len(drawn) == 2


async def test_only_cells_that_changed_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        written: list[Region] = []
        refresh = TextLines.refresh

        def noted(widget: TextLines, *regions: Region, **kwargs: Any) -> TextLines:
            written.extend(regions)
            return refresh(widget, *regions, **kwargs)

        def line(loss: str, step: str) -> Content:
            return Content.assemble(("loss ", "bold"), loss, (" step ", "bold"), step, "\nspeed 5")

        app.show(line("3.1", "7"))
        await pilot.pause()
        monkeypatch.setattr(TextLines, "refresh", noted)
        for loss, step, changed in (
            ("3.2", "7", (5, 3)),
            ("3.2", "8", (14, 1)),
            ("3.3", "9", (5, 10)),
            ("3.30", "9", (5, 11)),
            ("3.3", "9", (5, 11)),
            ("3.3", "9", None),
        ):
            written.clear()
            app.show(line(loss, step))
            assert [(region.x, region.width) for region in written] == ([changed] if changed is not None else [])
            await pilot.pause()
            assert app.drawn(TextLines) == app.drawn(Static)


async def test_a_theme_recolours_rows_that_stay() -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        app.show(Content.styled("one", "$error") + "\ntwo")
        await pilot.pause()
        before = app.drawn(TextLines)
        app.theme = "textual-light"
        await pilot.pause()
        assert app.drawn(TextLines) == app.drawn(Static) != before


async def test_what_is_selected_shows_and_can_be_copied() -> None:
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        app.show(Content("first\nsecond"))
        await pilot.pause()
        for selection in (SELECT_ALL, Selection(Offset(1, 0), Offset(2, 1))):
            app.screen.selections = {app.rows: selection, app.query_one(Static): selection}
            await pilot.pause()
            assert app.drawn(TextLines) == app.drawn(Static)
            assert app.rows.get_selection(selection) == app.query_one(Static).get_selection(selection)
        app.screen.clear_selection()
        await pilot.pause()
        assert app.drawn(TextLines) == app.drawn(Static)


async def test_a_row_says_where_it_is() -> None:
    """The mouse begins a selection in the row under it."""
    app = Beside()
    async with app.run_test(size=(60, 12)) as pilot:
        app.show(Content("first\nsecond"))
        await pilot.pause()
        _, offset = app.screen.get_widget_and_offset_at(app.rows.region.x + 3, app.rows.region.y + 1)
        assert offset == (3, 1)


class Scrolled(App[None]):
    """A text that is as high as its lines."""

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("", id="text")


async def test_a_text_that_follows_another_before_it_is_laid_out_has_its_own_height() -> None:
    app = Scrolled()
    async with app.run_test() as pilot:
        await pilot.pause()
        text = app.query_one("#text", Static)
        set_text(text, Content("a\nb\nc"))
        # Private: another widget's request makes Textual lay out the screen at just this time.
        app.query_one(VerticalScroll)._clear_arrangement_cache()
        app.screen._refresh_layout()
        set_text(text, Content("a\nb\nc\nd\ne\nf"))
        await until(pilot, lambda: text.size.height == 6, seconds=5)
