"""What is typed takes effect in its order, however many keys arrive at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from chomp_tui.platform import key_queue as keyline
from chomp_tui.platform.key_queue import KeyQueue
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.yaml_editor import YamlEditor
from chomp_tui.widgets.dialogs import Choose
from tests.console.test_configure import SMALL, Console, until


def clump(app: App[None], *keys: str) -> None:
    """Let keys arrive in one piece, as a slow connection delivers them."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def at(pilot: Pilot[None], console: Console, path: str) -> None:
    """Put the cursor into a setting's field."""
    form = console.screen.query_one(ConfigForm)
    await form.focus_path(path)
    await until(pilot, lambda: form.current == path)


async def test_a_value_that_is_typed_over_in_one_piece(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await at(pilot, console, "train.steps")
        clump(console.app, "enter", "end", *["backspace"] * 4, *"900")
        await until(pilot, lambda: "steps: 900 " in console.screen.document.text)
        assert console.screen.query_one(ConfigForm).current == "train.steps"


@pytest.mark.parametrize(
    "patience", [keyline.PATIENCE_SECONDS, pytest.param(-1.0, id="after a machine that did not run for a while")]
)
async def test_what_follows_an_arrow_goes_into_the_next_field_and_f5_starts_with_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(keyline, "PATIENCE_SECONDS", patience)
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await at(pilot, console, "train.batch_size")
        clump(console.app, "enter", "backspace", "8", "down", "enter", *"32", "f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        # Save, and start with the file.
        await pilot.press("s")
        await until(pilot, lambda: console.launched)
        assert console.file.read_text() == SMALL.replace("batch_size: 4", "batch_size: 8").replace("$variables.n", "32")


async def test_a_value_that_is_typed_and_taken_back_before_it_was_checked(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await at(pilot, console, "train.steps")
        document, given = console.screen.document, list[str]()
        set_value = document.set

        def remember(path: str, text: str, **options: Any) -> None:
            given.append(text)
            set_value(path, text, **options)

        document.set = remember  # type: ignore[method-assign]
        clump(console.app, "enter", "end", "9", "backspace")
        await until(pilot, lambda: given == ["20009", "2000"])
        assert "steps: 2000 " in document.text


async def test_the_yaml_takes_keys_in_their_order(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        editor = console.screen.query_one(YamlEditor)
        editor.focus()
        editor.move_cursor((0, 0))
        clump(console.app, "enter", "#", "x", "backspace", "y", "enter", "z", "left", "w")
        await until(pilot, lambda: editor.text.startswith("#y\nwz"))


async def test_no_key_overtakes_letters_that_are_held(tmp_path: Path) -> None:
    """What is typed into the YAML while a file is saved, which holds letters for a question that may come."""
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        editor, is_over = console.screen.query_one(YamlEditor), False
        editor.focus()
        await pilot.press("enter")
        editor.move_cursor((0, 0))
        console.app.hold_letters(lambda: is_over)
        clump(console.app, "right", "left", "#", "x", "backspace", "y", "enter", "z")
        await pilot.pause()
        assert editor.text == SMALL
        is_over = True
        await until(pilot, lambda: editor.text.startswith("#y\nz"))


class Stuck(App[None]):
    """Something around the field never comes to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = KeyQueue(self, super().on_event)
        self.free = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Input()
        yield Static("busy")

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            await self.keys.take(event)
        else:
            await super().on_event(event)


async def test_a_widget_that_never_rests_does_not_take_the_keyboard_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyline, "PATIENCE_SECONDS", 0.05)
    app = Stuck()
    async with app.run_test() as pilot:
        field = app.query_one(Input)
        field.focus()
        await pilot.pause()

        async def hang() -> None:
            await app.free.wait()

        app.screen.call_later(hang)
        await asyncio.sleep(0.05)
        app.screen.call_later(lambda: None)
        began = time.monotonic()
        clump(app, *"abc")
        while field.value != "abc":
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.01)
        assert app.screen.message_queue_size
        app.free.set()
