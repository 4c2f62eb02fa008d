"""The keys at the foot of a screen: which ones, in which order, and help always."""

from __future__ import annotations

from pathlib import Path

import pytest

# Textual draws a key at the foot by this widget, which it does not export: its place is what these tests look at.
from textual.widgets._footer import FooterKey

from chomp_tui import keys
from chomp_tui.app import ChompApp
from chomp_tui.screens.configure.text_field import TextField
from chomp_tui.screens.configure.yaml_editor import YamlEditor
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.key_bar import HELP, fitting
from tests.console.hosting import frame, until

# Whole screens at many widths.

RUN = [row for row in keys.TABLE if row.scope in ("run", "app", "chart")]
NEEDED = {row.id: len(row.label) + 4 for row in RUN}
NAMED = {row.id for row in RUN if row.footer}


def app(tmp_path: Path) -> ChompApp:
    for name in ("runs", "configs"):
        (tmp_path / name).mkdir(exist_ok=True)
    settings = Settings(path=tmp_path / "console.yaml")
    return ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=tmp_path / "configs"))


def labels(made: ChompApp) -> list[str]:
    """What the bar names, from left to right."""
    return [key.description for key in made.screen.query(FooterKey)]


def test_help_and_quit_come_first_where_there_is_no_room() -> None:
    assert fitting(NAMED, NEEDED, 7) == []
    assert fitting(NAMED, NEEDED, 8) == [HELP]
    assert fitting(NAMED, NEEDED, 16) == [HELP, "app.quit"]
    assert fitting(NAMED, NEEDED, 30) == ["run.pause", HELP, "app.quit"]


@pytest.mark.parametrize("width", [20, 80, 119, 120, 160, 400])
def test_what_is_shown_fits_and_stands_in_the_order_of_the_table(width: int) -> None:
    shown = fitting(NAMED, NEEDED, width)
    assert sum(NEEDED[id] for id in shown) <= width
    own = [row.id for row in RUN if row.scope == "run" and row.id in shown]
    assert shown == [*own, HELP, "app.quit"]
    assert (set(shown) <= NAMED) is (width < 120)


def test_in_a_wide_terminal_all_keys_of_the_screen_are_named() -> None:
    shown = fitting(NAMED, NEEDED, 400)
    own = {row.id for row in RUN if row.scope == "run" and not row.keys.startswith("alt+")}
    assert set(shown) == own | {HELP, "app.quit"}


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_every_screen_names_help_at_its_lower_right(width: int, tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(width, 40)) as pilot:
        for key in "12345":
            await pilot.press(key)
            await until(pilot, lambda: frame(made)[-1].endswith(" ? Help ") and " q Quit " in frame(made)[-1])


async def test_the_order_stays_when_the_focus_moves_and_the_width_decides_how_many(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(160, 40)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "f10 Compile" in frame(made)[-1])
        before, edited = labels(made), TextField | YamlEditor
        for _ in range(6):
            await pilot.press("tab")
            await pilot.pause()
            # The keys that stay keep their order, and help has a key that works.
            now = [one for one in labels(made) if one not in ("Edit", "Choose", "On/off")]
            assert [one for one in before if one in now] == now
            await until(pilot, lambda: "Help" in labels(made))
            await until(pilot, lambda: ("Edit" in labels(made)) is isinstance(made.screen.focused, edited))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "f10 Compile" not in frame(made)[-1] and "f7 Diff" in frame(made)[-1])
