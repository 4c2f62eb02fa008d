"""One key table: no clashes, every row bound and reachable, everything in help and in the page."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from textual.actions import parse
from textual.binding import Binding
from textual.widgets._toast import Toast

from chomp_tui import keys, reference
from chomp_tui.app import ChompApp, Shared
from chomp_tui.dialogs import Ask
from chomp_tui.screens.help import HelpScreen
from chomp_tui.settings import Settings
from chomp_tui.widgets.chart import LineChart
from tests.console.hosting import until

SCREENS = [scope for scope in keys.SCOPES if scope not in ("app", "chart", "dialog")]
# What tmux and screen take, and what terminals send for Backspace, Tab and Enter.
TAKEN = {f"ctrl+{letter}" for letter in "abhijm"}


def app(tmp_path: Path, keymap: dict[str, str] | None = None) -> ChompApp:
    settings = Settings(path=tmp_path / "console.yaml", keymap=keymap or {})
    return ChompApp(Shared(settings, runs=tmp_path / "runs", configs=Path("configs")))


def holders(made: ChompApp) -> dict[str, object]:
    """Who has the keys of a scope."""
    return {
        "app": made,
        "home": made.home_screen,
        "configure": made.configure_screen,
        "device": made.device_screen,
        "run": made.run_screen,
        "checkpoints": made.checkpoints_screen,
        "chart": LineChart(),
        "dialog": Ask("?"),
    }


def test_ids_are_unique() -> None:
    ids = [row.id for row in keys.TABLE]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("scope", SCREENS)
def test_no_key_means_two_things_on_one_screen(scope: str) -> None:
    rows = [row for row in keys.TABLE if row.scope in ("app", scope)]
    for one, other in combinations(rows, 2):
        assert not set(one.keys.split(",")) & set(other.keys.split(",")), (one.id, other.id)


def test_keys_are_safe_in_tmux_and_on_plain_terminals() -> None:
    for row in keys.TABLE:
        for key in row.keys.split(","):
            assert key not in TAKEN, row.id
            assert not key.startswith(("alt+", "ctrl+shift+")), row.id


@pytest.mark.parametrize("row", keys.TABLE, ids=lambda row: row.id)
def test_every_row_is_bound_to_an_action_that_exists(row: keys.Key, tmp_path: Path) -> None:
    holder = holders(app(tmp_path))[row.scope]
    bound = [item for item in type(holder).BINDINGS if isinstance(item, Binding)]
    assert [item.action for item in bound if item.id == row.id] == [row.action]
    _, name, _ = parse(row.action)
    assert callable(getattr(holder, f"action_{name}", None)), f"{type(holder).__name__} lacks action_{name}"


@pytest.mark.parametrize("scope", SCREENS)
async def test_help_shows_every_key_of_the_screen_first(scope: str, tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(120, 60)) as pilot:
        await pilot.press(str(1 + SCREENS.index(scope)))
        await until(pilot, lambda: made.screen is holders(made)[scope])
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(made.screen, HelpScreen))
        screen = made.screen
        assert isinstance(screen, HelpScreen)
        # Long rows go on in a second line, below their beginning.
        text = " ".join(screen.text.plain.split())
        for row in keys.TABLE:
            assert row.help in text, row.id
            assert keys.shown(row.keys) in text, row.id
        own = [row.help for row in keys.TABLE if row.scope == scope]
        others = [row.help for row in keys.TABLE if row.scope not in (scope, "app")]
        assert max(text.index(help) for help in own) < min(text.index(help) for help in others if help not in own)
        await pilot.press("escape")
        await until(pilot, lambda: made.screen is holders(made)[scope])


async def test_digits_reach_every_screen(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(80, 24)) as pilot:
        for number, scope in enumerate(SCREENS, 1):
            await pilot.press(str(number))
            await until(pilot, lambda scope=scope: made.screen is holders(made)[scope])


async def test_a_remapped_key_works_and_help_shows_it(tmp_path: Path) -> None:
    made = app(tmp_path, {"app.device": "f11"})
    async with made.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await pilot.pause()
        assert made.screen is made.home_screen
        await pilot.press("f11")
        await until(pilot, lambda: made.screen is made.device_screen)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(made.screen, HelpScreen))
        assert isinstance(made.screen, HelpScreen)
        assert "F11" in made.screen.text.plain


async def test_the_palette_has_the_screen_s_own_commands(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: made.screen is made.run_screen)
        titles = {command.title for command in made.get_system_commands(made.screen)}
        assert {row.label for row in keys.TABLE if row.scope == "run"} <= titles


def test_the_page_is_current() -> None:
    page = reference.PAGE.read_text()
    assert reference.updated(page) == page


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        reference.updated("# The console\n")


async def test_what_still_stands_there_is_not_told_again(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: made.screen is made.configure_screen and made.configure_screen.is_ready)
        await pilot.press(*["ctrl+z"] * 4)
        await until(pilot, lambda: len(made.screen.query(Toast)) == 1)
        made.tell("something else")
        await until(pilot, lambda: len(made.screen.query(Toast)) == 2)
        made.clear_notifications()
        await until(pilot, lambda: not made.screen.query(Toast))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(made.screen.query(Toast)) == 1)
