"""Text that is selected with the mouse reaches the clipboard, from charts and lists too."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from chomp_tui import theme
from chomp_tui.chart.series import Series
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.listing import Column, Listing, Row, cell
from tests.console.test_run_screen import frame, host, screen_of, shows
from tests.fakeruns import FakeRun, write_run

ROWS = [Row(str(number), {"name": cell(f"run {number}"), "state": cell("done", "good")}) for number in range(40)]

STYLES = Path(theme.__file__).parent


class Small(App[None]):
    """A list and a chart."""

    CSS_PATH: ClassVar = [STYLES / "base.tcss", STYLES / "widgets" / "chart.tcss"]
    CSS = "Listing, LineChart { height: 10; }"

    def __init__(self) -> None:
        super().__init__()
        for one in theme.THEMES:
            self.register_theme(one)
        self.theme = "chomp-dark"

    def compose(self) -> ComposeResult:
        yield Listing((Column("name", "name", 10), Column("state", "state", 8)))
        yield LineChart("loss")

    def on_mount(self) -> None:
        self.query_one(Listing).show(ROWS)
        self.query_one(LineChart).show([Series("train", np.arange(1.0, 4.0), np.arange(3.0, 0.0, -1.0), "smooth")])


async def drag(pilot: Pilot[None], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """What ctrl+c copies after a drag."""
    await pilot.mouse_down(offset=begin)
    await pilot.hover(offset=end)
    await pilot.mouse_up(offset=end)
    await pilot.pause(0.1)
    await pilot.press("ctrl+c")
    return pilot.app.clipboard


async def test_rows_of_a_list() -> None:
    app = Small()
    async with app.run_test(size=(40, 24)) as pilot:
        await pilot.pause()
        copied = await drag(pilot, (2, 1), (30, 3))
        assert copied.splitlines() == ["run 0       done", "  run 1       done", "  run 2       done"]
        chosen = app.screen.get_component_rich_style("screen--selection").bgcolor
        shown = [segment for segment in app.query_one(Listing).render_line(2) if segment.style.bgcolor == chosen]
        assert "run 1" in "".join(segment.text for segment in shown)
        app.screen.clear_selection()
        app.query_one(Listing).scroll_to(y=20, animate=False)
        await pilot.pause(0.1)
        assert (await drag(pilot, (2, 1), (9, 1))).rstrip() == "run 20"


async def test_a_chart_is_copied_whole() -> None:
    app = Small()
    async with app.run_test(size=(40, 24)) as pilot:
        await pilot.pause()
        chart = app.query_one(LineChart)
        copied = await drag(pilot, (3, 12), (30, 14))
        assert "loss" in copied
        assert copied.splitlines() == chart.as_text().splitlines()


async def test_what_stands_beside_a_chart(tmp_path: Path) -> None:
    """A drag over several panels copies their texts and no names of widgets."""
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=60, ending="stopped")).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        await pilot.pause(0.3)
        rows = frame(app)
        top = next(number for number, row in enumerate(rows) if "smoothed 30 steps" in row)
        copied = await drag(pilot, (6, top + 1), (6, len(rows) - 2))
        assert "smoothed 30 steps" in copied
        assert "LineChart#" not in copied
        assert screen_of(app).query_one("#loss", LineChart).as_text().splitlines()[0] in copied


async def test_a_row_selected_in_a_list_that_outgrows_its_height_is_in_view() -> None:
    app = Small()
    async with app.run_test(size=(40, 24)) as pilot:
        listing = app.query_one(Listing)
        listing.show(ROWS[:3])
        await pilot.pause()
        listing.show(ROWS)
        listing.select("30")
        await pilot.pause()
        assert "30" in listing.keys_in_view
        assert listing.vertical_scrollbar.position == listing.scroll_y > 0
