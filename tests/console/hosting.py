"""A small application that holds one screen and records what the screen asks of the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip

from chomp.queue.launch import LaunchRequest
from chomp.record.formatting import sanitize
from chomp_tui import keys, theme
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState

# The smallest and a large terminal; between them golden frames say how it looks, and `make soak` asks all else.
SIZES = [(80, 24), pytest.param((120, 40), marks=pytest.mark.soak), (200, 60)]


def console_state(runs: Path, configs: Path, *, read_only: bool = False) -> ConsoleState:
    """What screens share, with settings that no file holds."""
    return ConsoleState(Settings(), runs=runs, configs=configs, read_only=read_only)


class Host(App[None]):
    """Has what a screen uses of the console; requests are kept in `asked`, messages in `told`."""

    CSS_PATH: ClassVar = sorted(Path(theme.__file__).parent.rglob("*.tcss"))  # type: ignore[assignment]
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (100, "-medium"), (150, "-wide")]  # type: ignore[assignment]
    VERTICAL_BREAKPOINTS: ClassVar = [(0, "-short"), (32, "-tall")]  # type: ignore[assignment]
    BINDINGS: ClassVar = [*keys.bindings("app")]

    def __init__(self, screen: Screen[Any], state: ConsoleState) -> None:
        super().__init__()
        self.held = screen
        self.state = state
        self.asked: list[tuple[Any, ...]] = []
        self.told: list[str] = []
        for one in theme.THEMES:
            self.register_theme(one)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults(self.current_theme)

    def on_mount(self) -> None:
        self.theme = theme.THEMES[0].name
        self.push_screen(self.held)

    async def on_unmount(self) -> None:
        await self.state.close()

    def open_run(self, path: Path) -> None:
        self.asked.append(("open", path))

    def edit_config(self, path: Path | None, *, fork: Any = None) -> None:
        self.asked.append(("edit", path, fork))

    def show_checkpoints(self, run: Path | None) -> None:
        self.asked.append(("checkpoints", run))

    def compare_runs(self, runs: Sequence[Path]) -> None:
        self.asked.append(("compare", *runs))

    def launch(self, request: LaunchRequest) -> bool:
        self.asked.append(("launch", request))
        return True

    def refuse_read_only(self) -> bool:
        if self.state.read_only:
            self.notify("this console is read-only")
        return self.state.read_only

    def go_to_setting(self, path: str) -> None:
        self.asked.append(("setting", path))

    def call_attention(self, text: str) -> None:
        self.asked.append(("attention", text))

    def notify(self, message: str, **options: Any) -> None:
        self.told.append(message)
        super().notify(sanitize(message), **options | {"markup": False})

    async def action_back(self) -> None:
        self.held.go_back()  # type: ignore[attr-defined]


def strips(screen: Screen[Any]) -> list[Strip]:
    """The lines of a screen as drawn, from Textual's private compositor: the public export is SVG, without lines."""
    return screen._compositor.render_strips()


def frame(app: App[Any]) -> list[str]:
    """The lines of the screen as text."""
    return [strip.text for strip in strips(app.screen)]


def notices(app: App[Any]) -> list[str]:
    """The messages that pop up, from Textual's private list: it offers no public one."""
    return [one.message for one in app._notifications]


async def until(pilot: Pilot[Any], wanted: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `wanted` is true."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, "\n".join(frame(pilot.app))
        await pilot.pause(0.02)


@contextmanager
def paints(app: App[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What goes to the terminal meanwhile, in the list that this gives."""
    seen: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(app, "_display", lambda _, update: seen.append(update))
        yield seen
