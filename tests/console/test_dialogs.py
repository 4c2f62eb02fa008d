"""Dialogs: one answer each, however fast keys come."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.app import App

from chomp_tui.app import ChompApp
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.dialogs import Ask, Choose, Read, confirm
from tests.console.hosting import frame, until


class Asking(App[None]):
    """Asks two questions, one over the other, and keeps what came back."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, object]] = []

    def on_mount(self) -> None:
        for name, dialog in (("read", Read("A text", "…")), ("ask", Ask("Which?")), ("choose", self.question())):
            self.push_screen(dialog, lambda answer, name=name: self.answers.append((name, answer)))

    def question(self) -> Choose:
        return confirm("Really?", text="It is gone then.", yes="Yes")


async def test_a_key_that_repeats_answers_a_dialog_once() -> None:
    app = Asking()
    async with app.run_test() as pilot:
        await pilot.pause()
        choose, ask = app.screen, app.screen_stack[-2]
        for _ in range(3):
            choose.post_message(events.Key("n", "n"))
        await pilot.pause()
        assert app.answers == [("choose", "no")]
        assert app.screen is ask


async def test_what_reaches_a_covered_dialog_does_not_close_the_one_above() -> None:
    app = Asking()
    async with app.run_test() as pilot:
        await pilot.pause()
        choose = app.screen
        read = app.screen_stack[1]
        assert isinstance(read, Read)
        read.action_cancel()
        await pilot.pause()
        assert app.screen is choose
        assert app.answers == []


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_a_short_text_has_a_low_box_and_a_long_one_scrolls(tmp_path: Path, size: tuple[int, int]) -> None:
    settings = Settings(path=tmp_path / "console.yaml")
    app = ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=tmp_path / "none"))
    async with app.run_test(size=size) as pilot:
        short, long = Read("A text", "One line."), Read("A text", "\n".join(f"line {n}" for n in range(200)))
        for dialog, is_low in ((short, True), (long, False)):
            app.push_screen(dialog)
            # Once more in another size and back.
            for width, height in (size, (100, 30), size):
                await pilot.resize_terminal(width, height)
                wanted = 7 if is_low else int(0.9 * height)
                await until(pilot, lambda: dialog.query_one(".box").outer_size.height == wanted)  # noqa: B023
                assert "arrows scroll, Esc closes" in "\n".join(frame(app))
            await pilot.press("escape")
