"""The console as a whole: themes, pictures, animations, the palette, the mouse, and what is said when a start fails."""

from __future__ import annotations

import html
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.color import Color
from textual.command import CommandPalette
from textual.content import Content
from textual.pilot import Pilot

from chomp_tui import keys, theme
from chomp_tui.app import ChompApp
from chomp_tui.palette import ConsoleCommands
from chomp_tui.scopes import SCREENS
from chomp_tui.screens.help import HelpScreen
from chomp_tui.settings import load_settings
from chomp_tui.state import ConsoleState, StartView
from chomp_tui.widgets.dialogs import Read
from tests.console.hosting import frame, notices, strips, until
from tests.console.plainuser import read_only
from tests.fakeruns import FakeRun, write_run

# Each test starts the whole console.

CONFIGS = Path(__file__).parents[2] / "configs"
# What WCAG asks of large letters; the least that one can read at all.
LEAST_CONTRAST = 3.0
DARK, LIGHT = (one.name for one in theme.THEMES)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one run and the project's configurations, and no connection over which it is shown."""
    (tmp_path / "configs").symlink_to(CONFIGS)
    write_run(tmp_path / "runs" / "one", FakeRun(steps=300, ending="stopped"), now=time.time() - 90_000)
    monkeypatch.chdir(tmp_path)
    for name in ("SSH_CONNECTION", "SSH_TTY", "TEXTUAL_ANIMATIONS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def console(opening: StartView | None = None) -> ChompApp:
    settings, wrong = load_settings(Path("console.yaml").absolute())
    assert wrong == []
    return ChompApp(ConsoleState(settings), opening)


RUN = StartView(mode="run", run=Path("runs/one"))


async def shows(pilot: Pilot[None], *words: str) -> None:
    await until(pilot, lambda: all(word in "\n".join(frame(pilot.app)) for word in words))


def said(app: App[Any]) -> list[str]:
    """The passing messages that stand on the screen."""
    return notices(app)


# Themes ------------------------------------------------------------------------------------


def colours(app: App[Any]) -> tuple[set[str], set[str]]:
    """The foregrounds and the backgrounds of what is drawn, blanks left out."""
    styles = [part.style for strip in strips(app.screen) for part in strip if part.text.strip()]
    found = [(style.color, style.bgcolor) for style in styles if style is not None]
    front, back = ({colour.name for pair in found if (colour := pair[place])} for place in (0, 1))
    return front, back


def contrasts(app: App[Any]) -> dict[str, float]:
    """What is written, and its contrast with the background, 1 to 21 as WCAG counts."""
    found = {}
    for part in (part for strip in strips(app.screen) for part in strip):
        if part.style and part.style.color and part.style.bgcolor and any(char.isalnum() for char in part.text):
            shades = [luminance(Color.parse(one.name)) for one in (part.style.color, part.style.bgcolor)]
            found[part.text.strip()] = (max(shades) + 0.05) / (min(shades) + 0.05)
    return found


def luminance(colour: Color) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def own_colours(number: int) -> set[str]:
    made = theme.THEMES[number]
    named = (made.primary, made.accent, made.success, made.error, made.foreground, made.background, made.surface)
    return {str(one) for one in (*named, made.panel, *made.variables.values())}


async def test_a_key_switches_between_dark_and_light_and_the_next_start_remembers() -> None:
    app = console(RUN)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "300/10,000", "smoothed 30 steps")
        assert app.theme == DARK
        assert theme.THEMES[0].surface in colours(app)[1]
        await pilot.press("f9")
        await pilot.pause()
        assert app.theme == LIGHT
    assert load_settings(Path("console.yaml"))[0].theme == LIGHT
    again = console(RUN)
    async with again.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "300/10,000", "smoothed 30 steps")
        assert again.theme == LIGHT
        await pilot.press("f9")
        await pilot.pause()
        assert theme.THEMES[0].surface in colours(again)[1]
    assert load_settings(Path("console.yaml"))[0].theme == DARK


async def test_a_run_and_home_are_drawn_in_the_light_theme() -> None:
    """Nothing of the dark theme is left on them, and all text has enough contrast."""
    app = console(RUN)
    only_dark = own_colours(0) - own_colours(1)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "300/10,000", "smoothed 30 steps", "Memory", "r Resume", "Quit")
        await pilot.press("f9")
        for key, words in (
            ("4", ("300/10,000", "smoothed 30 steps")),
            ("1", ("Configurations", "one", "quickstart.yaml")),
        ):
            await pilot.press(key)
            await shows(pilot, *words)
            await pilot.pause()
            front, back = colours(app)
            assert not (front | back) & only_dark
            assert theme.THEMES[1].surface in back
            assert {theme.THEMES[1].foreground, theme.THEMES[1].variables["chart-smooth"]} <= front
            assert min(contrasts(app).values()) >= LEAST_CONTRAST, contrasts(app)


async def test_a_theme_that_cannot_be_remembered_is_told_in_a_sentence(tmp_path: Path) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        with read_only(tmp_path):
            await pilot.press("f9")
            await until(pilot, lambda: said(app))
        assert app.theme == LIGHT
        path = tmp_path / "console.yaml"
        assert said(app) == [f"the theme is not remembered: {path} cannot be written: Permission denied"]
        path.write_text("theme: [\n")
        await pilot.press("f9")
        await until(pilot, lambda: len(said(app)) == 2)
        assert said(app)[1] == f"the theme is not remembered: {path} is not YAML (line 2); correct or remove it"
        assert path.read_text() == "theme: [\n"


# Pictures ----------------------------------------------------------------------------------


async def test_a_key_writes_a_picture_of_the_screen(tmp_path: Path) -> None:
    app = console(RUN)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "300/10,000", "smoothed 30 steps", "Memory", "r Resume", "Quit")
        await pilot.press("f8")
        await until(pilot, lambda: said(app))
        [picture] = tmp_path.glob("*.svg")
        assert said(app)[0].startswith(f"screenshot: {picture.name}")
        drawn = html.unescape(picture.read_text(encoding="utf-8")).replace("\xa0", " ")
        for words in (">Checkpoints<", ">300/10,000<", ">smoothed<", ">gradient<", ">Quit<"):
            assert words in drawn, words


async def test_a_picture_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        with read_only(tmp_path):
            await pilot.press("f8")
            await until(pilot, lambda: said(app))
        [sentence] = said(app)
        assert sentence.startswith("the screenshot ./chomp_")
        assert sentence.endswith(".svg cannot be written: Permission denied")
        assert not list(tmp_path.glob("*.svg"))


# Over a slow line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, "full"),
        ({"SSH_CONNECTION": "10.0.0.2 50022 10.0.0.1 22"}, "none"),
        ({"SSH_TTY": "/dev/pts/3"}, "none"),
        ({"SSH_TTY": "/dev/pts/3", "TEXTUAL_ANIMATIONS": "full"}, "full"),
    ],
    ids=["here", "connection", "tty", "by option"],
)
async def test_nothing_is_animated_over_ssh(
    environ: dict[str, str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = console()
    async with app.run_test(size=(80, 24)):
        assert app.animation_level == level


# The palette -------------------------------------------------------------------------------


async def choose(pilot: Pilot[None], label: str) -> None:
    """Choose a command of the palette by its whole name."""
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
    await pilot.press(*label)
    palette = pilot.app.screen
    await until(pilot, lambda: (hits := palette.query_one("CommandList").options) and label in str(hits[0].prompt))
    await pilot.press("enter")
    await until(pilot, lambda: pilot.app.screen is not palette)


async def test_a_command_of_the_palette_does_what_its_key_does() -> None:
    app = console(RUN)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "300/10,000")
        assert not app.state.settings.log_y
        await choose(pilot, "Log y")
        await until(pilot, lambda: app.state.settings.log_y)
        await choose(pilot, "Checkpoints")
        await until(pilot, lambda: app.screen is app.checkpoints_screen)


async def test_a_picture_that_the_palette_takes_does_not_show_the_palette(tmp_path: Path) -> None:
    app = console(RUN)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "300/10,000")
        await choose(pilot, "Screenshot")
        await until(pilot, lambda: list(Path().glob("*.svg")))
        picture = next(Path().glob("*.svg")).read_text()
        assert "smoothed" in picture
        assert "Search" not in picture


async def test_every_command_of_the_palette_runs_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, object]] = []

    async def note(self: ChompApp, action: str, default_namespace: object = None) -> bool:
        ran.append((action, default_namespace))
        return True

    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        for mode in [one.mode for one in SCREENS]:
            app.switch_mode(mode)
            await until(pilot, lambda mode=mode: app.current_mode == mode and app.screen.is_mounted)
            with monkeypatch.context() as patch:
                patch.setattr(ChompApp, "run_action", note)
                palette = ConsoleCommands(app.screen)
                await palette.startup()
                commands = {Content.from_markup(hit.help or "").plain: hit async for hit in palette.discover()}
                for row in keys.TABLE:
                    if row.scope == mode or (row.scope == "app" and row.help in commands):
                        ran.clear()
                        await commands[row.help].command()
                        wanted = (row.action, app.screen) if row.scope == mode else (f"app.{row.action}", None)
                        assert ran == [wanted]


# The mouse ---------------------------------------------------------------------------------


async def test_a_click_on_a_name_at_the_top_goes_there() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        for mode, label in [(one.mode, f"{one.keys} {one.label}") for one in reversed(SCREENS) if one.keys]:
            await pilot.click(offset=(frame(app)[0].index(label) + 2, 0))
            await until(pilot, lambda mode=mode: app.current_mode == mode)
            await until(pilot, lambda label=label: label in frame(app)[0])


# Too small a terminal ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(59, 24), (80, 15)], ids=["narrow", "low"])
async def test_a_terminal_that_is_too_small_says_so_on_every_screen_and_in_help(size: tuple[int, int]) -> None:
    app, sentence = console(), f"{size[0]} × {size[1]} is too small:"
    async with app.run_test(size=size) as pilot:
        for mode in [one.mode for one in SCREENS]:
            app.action_show_screen(mode)
            await until(pilot, lambda mode=mode: app.current_mode == mode)
            await shows(pilot, sentence, "chomp needs 60 × 16")
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await shows(pilot, sentence, "chomp needs 60 × 16")
            assert "Help" not in "\n".join(frame(app))
            await pilot.press("escape")
            await until(pilot, lambda mode=mode: app.current_mode == mode and not isinstance(app.screen, HelpScreen))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "Help", "Esc closes")
        assert "too small" not in "\n".join(frame(app))
        await pilot.press("escape")
        await shows(pilot, "5 Checkpoints")
        assert "too small" not in "\n".join(frame(app))


# An engine that cannot start ---------------------------------------------------------------


async def test_an_engine_that_cannot_be_started_is_told_on_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = console(StartView(mode="configure", config=Path("configs/debug_smoke.yaml")))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.configure_screen.is_ready)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "gone" / "python"))
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, Read))
        await shows(pilot, "The engine could not be started", "no engine was started for", "No such file or directory")
        monkeypatch.undo()
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.configure_screen)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]
    assert not app.state.live
