"""Dialogs: one answer each, however fast keys come."""

from __future__ import annotations

from textual import events
from textual.app import App

from chomp_tui.widgets.dialogs import Ask, Choose, Read, confirm


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
