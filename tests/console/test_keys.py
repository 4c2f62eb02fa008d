"""One key table: no clashes, every row bound and reachable, everything in help and in the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path

import pytest

# Private: what a terminal sends becomes keys there.
from textual._xterm_parser import XTermParser
from textual.actions import parse
from textual.app import App
from textual.binding import Binding
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.events import Key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import OptionList

# A notification's widget, which Textual does not export: what it says is only to be read there.
from textual.widgets._toast import Toast

from chomp.record.rundir import RunDir
from chomp_tui import key_names, keys, reference, scopes
from chomp_tui.app import ChompApp
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.preview import PreviewSource
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.configure.controls import Pick, Toggle
from chomp_tui.screens.configure.file_dialogs import OpenList
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.text_field import FieldEditor, TextField
from chomp_tui.screens.configure.yaml_editor import YamlEditor
from chomp_tui.screens.help import HelpScreen
from chomp_tui.screens.preview.dialog import PreviewDialog
from chomp_tui.screens.run.explaining import ExplainDialog, ExplainedStep
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.dialogs import Ask
from tests.console.hosting import frame, until
from tests.fakeruns import FakeRun, make_checkpoint, write_run

SCREENS = {one.mode: one.keys for one in scopes.SCREENS}
# A chart's crosshair goes before the screen; Enter ends the typing of a name.
TAKEN_ON_PURPOSE = {
    ("LineChart", "escape", "app.back"),
    # During an edit only; Esc leads out of the screen once it has ended.
    ("YamlEditor", "escape", "app.back"),
    ("NameFilter", "enter", "home.open"),
    ("NameFilter", "enter", "checkpoints.resume"),
    ("NameFilter", "enter", "queue.open"),
    ("NameFilter", "enter", "run.zoom_panel"),
}
# What editors bind to keys with which the configure screen does other things, wherever one types.
LOST = {
    ("YamlEditor", "ctrl+y", "configure.redo"),
    ("YamlEditor", "ctrl+z", "configure.undo"),
    ("YamlEditor", "f6", "configure.open_file"),
    ("YamlEditor", "f7", "configure.diff"),
}
# What tmux and screen take, and what terminals send for Backspace, Tab and Enter.
TAKEN = {f"ctrl+{letter}" for letter in "abhijm"}


def app(tmp_path: Path, keymap: dict[str, str] | None = None) -> ChompApp:
    settings = Settings(path=tmp_path / "console.yaml", keymap=keymap or {})
    return ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=Path("configs")))


def text_of(made: ChompApp) -> str:
    return "\n".join(frame(made))


def holders(made: ChompApp) -> dict[str, object]:
    """Who has the keys of a scope."""
    return {
        "app": made,
        **{mode: made.screen_of(mode) for mode in SCREENS},
        "line": TextField(),
        "edit": FieldEditor("", ""),
        "yaml": YamlEditor(),
        "pick": Pick((), title=""),
        "switch": Toggle(),
        "open": OpenList([]),
        "preview": PreviewDialog(Helper(), PreviewSource("", (), None, {}), "x", seq_len=8, sequences=1),
        "chart": LineChart(),
        "explain": ExplainDialog(Helper(), Path("run"), ExplainedStep(1), {}, may_skip=True),
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


async def go(made: ChompApp, pilot: Pilot[None], scope: str) -> None:
    """Show a screen by its key; to the one without a key another screen leads."""
    if SCREENS[scope]:
        await pilot.press(SCREENS[scope])
    else:
        made.compare_runs([Path("none"), Path("other")])


@asynccontextmanager
async def shown(scope: str, tmp_path: Path) -> AsyncIterator[tuple[ChompApp, Pilot[None]]]:
    """The whole console at one screen, where there is a run to select, to watch and to go on with."""
    folder = tmp_path / "runs" / "one"
    write_run(folder, FakeRun(steps=300, live=True))
    make_checkpoint(RunDir(folder), 300)
    made = app(tmp_path)
    async with made.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: made.screen_of("home").is_ready)
        if scope == "run":
            made.open_run(folder)
            await until(pilot, lambda: isinstance(made.screen.focused, LineChart))
        else:
            await go(made, pilot, scope)
        holder = holders(made)[scope]
        assert isinstance(holder, ConsoleScreen)
        await until(pilot, lambda: made.screen is holder and holder.is_ready)
        await pilot.pause()
        yield made, pilot


def recorded(monkeypatch: pytest.MonkeyPatch, made: ChompApp, *scopes: str) -> list[tuple[str, object]]:
    """What the actions of these scopes are called with from now on, which then do nothing else."""
    calls: list[tuple[str, object]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda self, *args: calls.append((name, args))

    for row in keys.TABLE:
        if row.scope in scopes:
            name = f"action_{parse(row.action)[1]}"
            monkeypatch.setattr(type(holders(made)[row.scope]), name, note(f"{row.scope}.{name}"))
    return calls


async def press_all(pilot: Pilot[None], calls: list[tuple[str, object]], *scopes: str, is_typing: bool = False) -> None:
    """Press every key of these scopes and see its action called, once and nothing else.

    While one types, letters are letters.
    """
    for row in keys.TABLE:
        _, name, arguments = parse(row.action)
        for key in row.keys.split(",") if row.scope in scopes and (row.priority or not is_typing) else ():
            calls.clear()
            await pilot.press(key)
            await pilot.pause()
            assert calls == [(f"{row.scope}.action_{name}", arguments)], (row.id, key)


@pytest.mark.parametrize("scope", SCREENS)
async def test_every_key_reaches_its_action(scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shown(scope, tmp_path) as (made, pilot):
        await press_all(pilot, recorded(monkeypatch, made, "app", scope), "app", scope)


async def test_keys_of_the_configure_screen_count_while_one_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown("configure", tmp_path) as (made, pilot):
        calls = recorded(monkeypatch, made, "app", "configure")
        for kind in (YamlEditor, TextField, Pick, Toggle):
            field = next(widget for widget in made.screen.query(kind) if widget.focusable)
            field.focus()
            await until(pilot, lambda field=field: made.screen.focused is field)
            await press_all(pilot, calls, "configure", is_typing=kind is not Pick)
            assert made.screen.focused is field
        editor = made.screen.query_one(YamlEditor)
        editor.focus()
        calls.clear()
        await pilot.press("enter", *"1qeav?")
        assert "1qeav?" in editor.text, "letters are letters"
        assert calls == []


async def test_keys_of_a_chart_and_of_a_dialog_reach_their_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown("run", tmp_path) as (made, pilot):
        # Without a crosshair Esc leads out of the screen.
        await pilot.press("left")
        await until(pilot, lambda: made.screen.query_one("#loss", LineChart).cross is not None)
        calls = recorded(monkeypatch, made, "app", "run", "chart", "dialog")
        await press_all(pilot, calls, "chart")
        made.push_screen(Ask("?"))
        await until(pilot, lambda: isinstance(made.screen, Ask))
        await press_all(pilot, calls, "dialog")


def bound(holder: DOMNode) -> dict[str, str]:
    """Key -> action, of a widget or screen and of all that it is made from."""
    # Private: Textual tells publicly only of the bindings of a screen that is shown.
    return {key: found[0].action for key, found in holder._bindings.key_to_bindings.items()}


async def test_no_key_is_taken_by_what_has_the_focus(tmp_path: Path) -> None:
    """The widget with the focus has its keys first, except before those with priority, which it then lacks."""
    taken, lost = set(), set()
    for scope in SCREENS:
        async with shown(scope, tmp_path / scope) as (made, _):
            rows = {key: row for row in keys.TABLE if row.scope in ("app", scope) for key in row.keys.split(",")}
            widgets = [widget for widget in made.screen.walk_children() if widget.can_focus]
            assert widgets
            for widget in widgets:
                for key in bound(widget).keys() & rows.keys():
                    found = (type(widget).__name__, key, rows[key].id)
                    (lost if rows[key].priority else taken).add(found)
    assert taken == TAKEN_ON_PURPOSE
    assert lost == LOST


async def test_no_key_of_textual_s_own_is_taken(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(80, 24)):
        own = bound(App()).keys() | bound(Screen()).keys() | {made.COMMAND_PALETTE_BINDING}
    assert {"ctrl+q", "ctrl+c", "ctrl+p", "tab", "shift+tab"} <= own
    for row in keys.TABLE:
        assert not set(row.keys.split(",")) & own, row.id


def test_keys_are_safe_in_tmux_and_on_plain_terminals() -> None:
    for row in keys.TABLE:
        for key in row.keys.split(","):
            assert key not in TAKEN, row.id
            # tmux passes Alt and a digit on; other programs around it take letters.
            assert re.fullmatch(r"alt\+[1-9]", key) or not key.startswith(("alt+", "ctrl+shift+")), row.id


def test_alt_and_a_digit_as_terminals_send_it_is_bound() -> None:
    for row in keys.TABLE:
        for key in (key for key in row.keys.split(",") if key.startswith("alt+")):
            read = [event.key for event in XTermParser().feed(f"\x1b{key[-1]}") if isinstance(event, Key)]
            assert set(read) <= {*key_names.as_read(row.keys).split(",")}, (row.id, read)


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
        await go(made, pilot, scope)
        await until(pilot, lambda: made.screen is holders(made)[scope])
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(made.screen, HelpScreen))
        screen = made.screen
        assert isinstance(screen, HelpScreen)
        # Long rows go on in a second line, below their beginning.
        text = " ".join(screen.text.plain.split())
        for row in keys.TABLE:
            assert row.help in text, row.id
            assert key_names.shown(row.keys) in text, row.id
        own = [row.help for row in keys.TABLE if row.scope == scope]
        others = [row.help for row in keys.TABLE if row.scope not in (scope, "app")]
        assert max((text.index(help) for help in own), default=0) < min(
            text.index(help) for help in others if help not in own
        )
        parts = [text.index(scopes.SCOPES[part]) for part, screens in scopes.WITHIN.items() if scope in screens]
        assert all(place < text.index(scopes.SCOPES["app"]) for place in parts)
        await pilot.press("escape")
        await until(pilot, lambda: made.screen is holders(made)[scope])


async def test_the_key_of_each_screen_reaches_it(tmp_path: Path) -> None:
    made = app(tmp_path)
    async with made.run_test(size=(80, 24)) as pilot:
        for scope in SCREENS:
            await go(made, pilot, scope)
            await until(pilot, lambda scope=scope: made.screen is holders(made)[scope])


async def test_a_remapped_key_works_and_help_shows_it(tmp_path: Path) -> None:
    made = app(tmp_path, {"app.device": "f11"})
    async with made.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await pilot.pause()
        assert made.screen is made.screen_of("home")
        await pilot.press("f11")
        await until(pilot, lambda: made.screen is made.screen_of("device"))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(made.screen, HelpScreen))
        assert isinstance(made.screen, HelpScreen)
        assert "F11" in made.screen.text.plain


async def test_the_palette_names_keys_finds_runs_and_leads_to_settings(tmp_path: Path) -> None:
    made = app(tmp_path, {"run.marker": "B"})
    write_run(tmp_path / "runs" / "a night\x1b[2J of [red]one", FakeRun(steps=20, ending="stopped"))
    async with made.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: made.screen is made.run_screen)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(made.screen, CommandPalette) and "Pause training" in text_of(made))
        listed = [option.prompt for option in made.screen.query_one(OptionList).options]
        names = [str(prompt).split("\n")[0] for prompt in listed]
        for row in keys.TABLE:
            if row.scope in ("run", "app") and row.action not in ("back", "marker"):
                key = key_names.shown(row.keys.split(",")[0])
                assert any(name.split() == [*key.split(), *row.label.split()] for name in names), row.id
        assert any(name.split() == ["B", "Blocks"] for name in names), "as the user has remapped it"
        await pilot.press(*"a night")
        await until(pilot, lambda: "run       a night" in text_of(made))
        assert "\x1b" not in text_of(made)
        assert text_of(made).count("[red]one") == 2
        await pilot.press("enter")
        await until(pilot, lambda: made.screen is made.run_screen and "20/10,000" in text_of(made))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(made.screen, CommandPalette))
        await pilot.press(*"weight_decay")
        await until(pilot, lambda: "setting   optim.weight_decay" in text_of(made))
        await pilot.press("enter")
        await until(pilot, lambda: made.screen is made.configure_screen)
        form = made.configure_screen.query_one(ConfigForm)
        await until(pilot, lambda: form.current == "optim.weight_decay")


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
        made.notify("something else")
        await until(pilot, lambda: len(made.screen.query(Toast)) == 2)
        made.clear_notifications()
        await until(pilot, lambda: not made.screen.query(Toast))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(made.screen.query(Toast)) == 1)
