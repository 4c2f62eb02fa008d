"""The chart on a screen: every size, repaint of what changed alone, zoom, crosshair, colours and none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.style import Style
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.events import MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.widgets import Button

from chomp.curves.smooth import smoothed
from chomp_tui import keys, theme
from chomp_tui.chart.series import Series
from chomp_tui.widgets.chart import LineChart
from tests.console.hosting import until

STYLES = Path(theme.__file__).parent


class Watched(LineChart):
    """Remembers what it was asked to repaint."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.repainted: list[tuple[Region, ...]] = []
        super().__init__(*args, **kwargs)

    def refresh(self, *regions: Region, **kwargs: Any) -> LineChart:
        self.repainted.append(regions)
        return super().refresh(*regions, **kwargs)


class Host(App[None]):
    """One chart, and something else to focus."""

    CSS_PATH: ClassVar = [STYLES / "base.tcss", STYLES / "widgets" / "chart.tcss"]
    CSS = "Button { dock: bottom; display: none; } .other Button { display: block; }"
    BINDINGS: ClassVar = [*keys.bindings("app")]

    def __init__(self, *, classes: str = "", name: str = "chomp-dark") -> None:
        super().__init__()
        for one in theme.THEMES:
            self.register_theme(one)
        self.theme = name
        self.went_back = 0
        self.held = Watched("loss", classes=classes)

    def compose(self) -> ComposeResult:
        yield Vertical(self.held, Button("other"))

    def action_back(self) -> None:
        self.went_back += 1


def curve(count: int = 500) -> list[Series]:
    steps = np.arange(1.0, count + 1)
    loss = 2 + 8 * np.exp(-steps / 50) + 0.3 * np.sin(steps)
    return [
        Series("train", steps, loss, "raw"),
        Series("smooth", steps, smoothed(steps, loss, 10), "smooth"),
        Series("eval", steps[49::50], loss[49::50] + 0.2, "eval", sparse=True),
    ]


def screen(chart: LineChart) -> str:
    return "\n".join(chart.render_line(row).text.rstrip() for row in range(chart.size.height))


def styles(chart: LineChart, row: int) -> dict[str, Style]:
    """Style of each character of a row."""
    return {char: style for text, style, _ in chart.render_line(row) if style for char in text}


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (30, 8), (9, 3), (3, 2), (1, 1)])
@pytest.mark.parametrize("marker", ["braille", "block"])
@pytest.mark.parametrize("log_y", [False, True])
async def test_it_fills_any_size(size: tuple[int, int], marker: str, log_y: bool) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        chart = app.held
        for lines in ([], curve(1), curve()):
            chart.show(lines)
            chart.marker, chart.log_y = marker, log_y
            await pilot.pause()
            assert (chart.size.width, chart.size.height) == size
            assert {chart.render_line(row).cell_length for row in range(size[1])} == {size[0]}
            assert screen(chart) == chart.as_text()
        assert chart.as_text().strip()


async def test_a_panel_s_border_is_not_drawn_over_and_a_new_size_draws_anew() -> None:
    app = Host(classes="panel")
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve())
        await pilot.pause()
        assert chart.size.width < 80
        assert len(chart.as_text().splitlines()) == chart.size.height == 22
        await pilot.resize_terminal(50, 12)
        await until(pilot, lambda: len(chart.as_text().splitlines()) == chart.size.height == 10)
        assert screen(chart) == chart.as_text()


async def test_the_same_data_repaint_nothing_and_new_data_what_differs() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart, lines = app.held, curve()
        chart.show(lines)
        await pilot.pause()
        chart.repainted.clear()
        chart.show(curve())
        assert chart.repainted == []
        before = screen(chart).splitlines()
        raw = lines[0]
        chart.show([Series("train", raw.x, np.append(raw.y[:-1], 3.0), "raw"), *lines[1:]])
        after = screen(chart).splitlines()
        differ = {row for row, (one, other) in enumerate(zip(before, after, strict=True)) if one != other}
        assert len(chart.repainted) == 1
        assert {region.y for region in chart.repainted[0]} >= differ
        assert 1 <= sum(region.area for region in chart.repainted[0]) < 40, "cells, not rows"
        await pilot.pause()
        assert screen(chart) == chart.as_text()


async def test_settings_draw_anew() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve())
        await pilot.pause()
        linear = screen(chart)
        chart.log_y = True
        logarithmic = screen(chart)
        chart.marker = "block"
        assert len({linear, logarithmic, screen(chart)}) == 3
        assert "█" in screen(chart)
        assert not any(0x2800 <= ord(char) < 0x2900 for char in screen(chart))
        chart.log_y, chart.marker = False, "braille"
        assert screen(chart) == linear


async def test_zoom_keeps_the_newest_record_in_view() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve(1000))
        await pilot.pause()
        whole = screen(chart)
        chart.zoom_in()
        chart.zoom_in()
        assert chart.zoomed
        assert " 800 " in screen(chart).splitlines()[-1]
        assert " 200 " not in screen(chart).splitlines()[-1]
        chart.show(curve(2000))
        await pilot.pause()
        axis = screen(chart).splitlines()[-1]
        assert "1900" in axis
        assert "1700" not in axis, "as wide as before, and at the newest record"
        assert any(row[78:].strip(" ·") for row in screen(chart).splitlines()[1:-1])
        for _ in range(6):
            chart.zoom_out()
        assert not chart.zoomed
        chart.zoom_in()
        chart.zoom_reset()
        chart.show(curve(1000))
        assert screen(chart) == whole


async def test_zoom_stops_at_a_few_records_and_does_nothing_without_any() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)):
        chart = app.held
        chart.zoom_in()
        assert not chart.zoomed
        chart.show(curve(1000))
        for _ in range(60):
            chart.zoom_in()
        assert "no values" not in screen(chart)


async def test_another_x_axis_keeps_the_share_shown() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)):
        chart, lines = app.held, curve(1000)
        chart.show(lines)
        chart.zoom_in()
        chart.show([Series(one.name, one.x * 1e6, one.y, one.tone, one.sparse) for one in lines], x_label="tokens")
        axis = screen(chart).splitlines()[-1]
        assert axis.endswith("tokens")
        assert "0.8B" in axis
        assert "0.2B" not in axis
        chart.show([Series(one.name, one.x * 10, one.y, one.tone) for one in lines], x_label="time")
        assert "2h00m" in screen(chart).splitlines()[-1]
        chart.show(lines, x_format=lambda x: f"#{x:.0f}")
        assert "#800" in screen(chart).splitlines()[-1]


async def test_the_crosshair_walks_from_sample_to_sample() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart, lines = app.held, curve(10)
        chart.show(lines[:2])
        chart.focus()
        await pilot.press("left")
        assert chart.cross == 10
        await pilot.press("left", "left")
        assert chart.cross == 8
        header = screen(chart).splitlines()[0]
        assert header == f"loss   step 8   ⣿ train {lines[0].y[7]:.4f}   ━ smooth {lines[1].y[7]:.4f}"
        assert "│" in screen(chart)
        await pilot.press("right", "right")
        assert chart.cross == 10
        await pilot.press("right")
        assert chart.cross is None
        assert "│" not in screen(chart)
        await pilot.press("right")
        assert chart.cross == 1
        await pilot.press("left")
        assert chart.cross is None


async def test_many_series_keep_their_names_rather_than_their_values() -> None:
    app = Host()
    async with app.run_test(size=(50, 12)) as pilot:
        x = np.arange(1.0, 11.0)
        app.held.show([Series(f"term {number}", x, 1.23456 * number * x, "smooth") for number in range(1, 5)])
        assert [screen(app.held).splitlines()[0].count(f"term {number}") for number in range(1, 5)] == [1, 1, 1, 1]
        app.held.focus()
        await pilot.press("left")
        header = screen(app.held).splitlines()[0]
        assert "term" not in header
        assert "49.382" in header


async def test_each_press_moves_the_crosshair_to_another_cell() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve(100_000))
        chart.focus()
        seen = []
        for _ in range(5):
            await pilot.press("left")
            row = screen(chart).splitlines()[1]
            seen.append(row.rindex("│"))
        assert seen == list(range(seen[0], seen[0] - 5, -1))


async def test_escape_takes_the_crosshair_away_and_only_then_goes_back() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        app.held.show(curve())
        app.held.focus()
        await pilot.press("left", "escape")
        assert app.held.cross is None
        assert app.went_back == 0
        await pilot.press("escape")
        assert app.went_back == 1


async def test_the_mouse_shows_the_values_under_it_until_it_leaves() -> None:
    app = Host(classes="panel")
    async with app.run_test(size=(80, 24)) as pilot:
        chart, lines = app.held, curve(10)
        chart.show(lines[:1])
        await pilot.pause()
        await pilot.hover(chart, offset=(40, 10))
        assert chart.cross is None, "no sample lies there"
        cell = next(place for place, char in enumerate(chart.as_text().splitlines()[-1]) if char == "6")
        inside = chart.content_region.x - chart.region.x + cell
        await pilot.hover(chart, offset=(inside, 10))
        assert chart.cross == 6
        assert f"step 6   ⣿ train {lines[0].y[5]:.4f}" in screen(chart)
        await pilot.hover(chart, offset=(0, 0))
        assert chart.cross is None


async def test_the_crosshair_goes_with_the_focus() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        app.screen.add_class("other")
        app.held.show(curve())
        app.held.focus()
        await pilot.press("left")
        assert app.held.cross is not None
        await pilot.press("tab")
        await pilot.pause()
        assert app.held.cross is None


@pytest.mark.parametrize("one", theme.THEMES, ids=lambda one: one.name)
async def test_colours_are_those_of_the_theme_also_after_a_switch(one: Any) -> None:
    other = next(item for item in theme.THEMES if item is not one)
    app = Host(name=other.name)
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve())
        await pilot.pause()
        screen(chart)
        app.theme = one.name
        await pilot.pause()
        header = styles(chart, 0)
        colours = {glyph: header[glyph].color.get_truecolor().hex for glyph in "⣿━◆"}  # type: ignore[union-attr]
        assert colours == {
            "⣿": one.variables["chart-raw"],
            "━": one.variables["chart-smooth"],
            "◆": one.variables["chart-eval"],
        }
        assert header["━"].bold


async def test_without_colour_shapes_tell_series_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        steps = np.arange(100.0)
        app.held.show([Series("adam", steps, steps, "smooth"), Series("muon", steps, steps * 3, "second")])
        await pilot.pause()
        text = screen(app.held)
        assert "━ adam" in text
        assert "× muon" in text
        assert text.count("×") >= 5


async def test_a_hidden_chart_draws_when_it_is_shown() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve(10))
        await pilot.pause()
        chart.display = False
        await pilot.pause()
        chart.show(curve(1000))
        chart.display = True
        await pilot.pause()
        assert screen(chart) == chart.as_text()
        assert "800" in screen(chart)


async def test_the_wheel_zooms_at_the_pointer_and_tells_which_part_is_shown() -> None:
    moved: list[LineChart.WindowMoved] = []

    class Listening(Host):
        def on_line_chart_window_moved(self, message: LineChart.WindowMoved) -> None:
            moved.append(message)

    app = Listening()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.held
        chart.show(curve(1000))
        await pilot.pause()
        pointer = {"button": 0, "shift": False, "meta": False, "ctrl": False, "delta_x": 0}
        up = MouseScrollUp(chart, 40, 10, delta_y=-1, screen_x=40, screen_y=10, **pointer)
        down = MouseScrollDown(chart, 40, 10, delta_y=1, screen_x=40, screen_y=10, **pointer)
        under = chart._frame().x_between(40 - chart._frame().left)
        assert under is not None
        for _ in range(4):
            chart.post_message(up)
            await pilot.pause()
        left, right = chart.window.span(1, 1000)
        assert left < under[0] < right
        assert 300 < right - left < 500
        assert [one.window for one in moved][-1] == chart.window
        chart.pan(-1)
        assert chart.window.span(1, 1000)[1] < right
        for _ in range(8):
            chart.post_message(down)
            await pilot.pause()
        assert not chart.zoomed


async def test_one_key_shows_all_values() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        app.held.show(curve())
        await pilot.pause()
        assert "clipped" in screen(app.held)
        app.held.show_all = True
        assert "clipped" not in screen(app.held)
        assert "\n10 " in screen(app.held)
