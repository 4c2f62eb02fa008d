"""Whole screens as text and colours, compared with files; `CHOMP_UPDATE_GOLDEN=1` writes them anew.

A file `screen_NAME_80x24.txt` holds the text of a screen and below it, but for the two largest sizes, the style of each
cell: a letter that the list at the end explains, a blank for the style that most cells have. A file `…_plain.txt` holds
the same of a console without colour, whose charts have strokes of their own. The other theme shows the same text.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import string
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.app import App
from textual.pilot import Pilot

from chomp_tui.app import ChompApp
from chomp_tui.engine.machine import Machine
from chomp_tui.live import gpu_watch, queue_watch
from chomp_tui.screens.configure.screen import ConfigureScreen
from chomp_tui.screens.device.screen import DeviceScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.theme import THEMES
from tests.console.fakehelper import fake_helper
from tests.console.gallery import ENGINE, FORKED, write_gallery
from tests.console.hosting import frame, strips, until
from tests.device.fake_nvml import fake

GOLDEN = Path(__file__).parent / "golden"
UPDATES = bool(os.environ.get("CHOMP_UPDATE_GOLDEN"))
DARK, LIGHT = (one.name for one in THEMES)
SMALL, MEDIUM, WIDE, LARGE = (80, 24), (120, 40), (160, 48), (200, 60)
# Each size, and the theme that its file shows; a console without colour is another process.
LOOKS = {SMALL: DARK, MEDIUM: LIGHT, WIDE: LIGHT, LARGE: DARK}
PATIENCE_SECONDS = 10
# Of a log's lines and of alerts, in the local time of this machine.
STAMP = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")
SOME_STAMP = "2026-01-02 03:04:05"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    write_gallery(folder)
    return folder


@pytest.fixture(autouse=True)
def _here(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day and this machine are not shown."""
    monkeypatch.chdir(gallery)
    # The days on which runs ended are others each day.
    for module in ("widgets.run_rows", "screens.run.checkpoints", "screens.checkpoints.checkpoint_rows"):
        monkeypatch.setattr(f"chomp_tui.{module}.when", lambda t, now: "Nov 26")
    for module in ("screens.run.header", "screens.checkpoints.checkpoint_rows"):
        monkeypatch.setattr(f"chomp_tui.{module}.moment", lambda t, now: "Nov 26 14:05")
    usage = shutil.disk_usage(gallery)._replace(free=500 * 10**9)
    monkeypatch.setattr("chomp_tui.live.feed.shutil.disk_usage", lambda _: usage)
    # One reading, so that curves have one place to be.
    monkeypatch.setattr(gpu_watch, "INTERVAL_SECONDS", 3_600.0)
    monkeypatch.setattr(queue_watch, "runner_of", lambda queue: SimpleNamespace(pid=4711))


def console() -> ChompApp:
    app = ChompApp(ConsoleState(Settings()))
    app.state.helper = fake_helper(ENGINE)
    app.built["configure"] = ConfigureScreen(debounce_seconds=0)
    machine = Machine(16, 64 << 30, "jax-cuda13-plugin 0.10.2", 25.0, 8 << 30)
    environ = {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}
    app.built["device"] = DeviceScreen(lambda: fake("rtx5090"), environ, lambda: machine)
    return app


async def shown(pilot: Pilot[None], *words: str) -> None:
    await until(pilot, lambda: all(one in "\n".join(frame(pilot.app)) for one in words))


async def visited(pilot: Pilot[None], app: ChompApp) -> AsyncIterator[tuple[str, bool]]:
    """Go from screen to screen; their names, and whether each is a main one, of which every size is kept."""
    home = app.screen_of("home")
    await shown(pilot, "steady", "wild", "2.1497")
    yield "home", True
    app.compare_runs([Path("runs/steady"), Path("runs", FORKED)])
    await shown(pilot, "same batches", "best eval")
    yield "compare", True
    app.compare_runs(sorted(one for one in Path("runs").iterdir() if one.name != "wild"))
    await shown(pilot, "Mark two runs alone", "best eval")
    yield "compare_five", True
    await pilot.press("7")
    await shown(pilot, "runner 4711", "rates", "held")
    yield "queue", True
    await pilot.press("tab", "enter")
    await shown(pilot, "Sweep rates", "failed", "10 complete")
    yield "sweep", True
    await pilot.press("escape", "5")
    await shown(pilot, "latest ★")
    yield "checkpoints", True
    await pilot.press("3")
    await shown(pilot, "RTX 5090")
    yield "device", True
    app.open_run(Path("runs/steady"))
    await shown(pilot, "10,000/10,000", "eval 2.1994")
    yield "run", True
    await pilot.press("f1")
    await shown(pilot, "arrows scroll")
    yield "help", True
    await pilot.press("escape", "y")
    yield "run_log_y", False
    await pilot.press("y", "alt+3")
    yield "run_samples", False
    app.open_run(Path("runs/wild"))
    await shown(pilot, "step 900: the loss is nan")
    yield "run_crashed", False
    app.edit_config(Path("configs/quickstart.yaml"))
    await shown(pilot, "! tight")
    yield "configure", True
    await pilot.press("v")
    await shown(pilot, "packing efficiency", "⟦1⟧")
    yield "preview", True
    await pilot.press("escape", "2", "ctrl+f", *"prompts", "enter")
    yield "configure_edit", False
    await pilot.press("escape", "ctrl+f", "escape", "up", "a")
    yield "configure_all", False
    assert home.is_mounted


async def is_as_it_was(pilot: Pilot[None], name: str, *, text_only: bool = False) -> bool:
    """Whether the screen comes to look as in its file, which is written anew where that is wanted."""
    width, height = pilot.app.size
    path = GOLDEN / f"screen_{name}_{width}x{height}{'_plain' if pilot.app.no_color else ''}.txt"
    picture = partial(pictured, pilot.app, text_only=text_only)
    if UPDATES and not text_only:
        before, text = "", picture()
        while before != text:
            await pilot.pause(0.7)
            before, text = text, picture()
        path.write_text(text, encoding="utf-8")
        return True
    wanted = path.read_text(encoding="utf-8")
    if text_only:
        wanted = "".join(wanted.splitlines(keepends=True)[:height])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (text := picture()) != wanted:
        if time.monotonic() > deadline:
            print(path.name, *difflib.unified_diff(wanted.splitlines(), text.splitlines(), lineterm=""), sep="\n")
            return False
        await pilot.pause(0.02)
    return True


def pictured(app: App[None], *, text_only: bool = False) -> str:
    """The screen as text; dates of a log are always the same ones."""
    lines = (STAMP.sub(lambda found: SOME_STAMP[-len(found[0]) :], line).rstrip() for line in frame(app))
    parts = lines if text_only or app.size.height > MEDIUM[1] else [*lines, "", *styles(app)]
    return "\n".join([*parts, ""])


def styles(app: App[None]) -> list[str]:
    """The style of each cell as a letter, and what the letters mean."""
    drawn = [
        [look(segment.style, segment.text.isspace()) for segment in strip for _ in range(cell_len(segment.text))]
        for strip in strips(app.screen)
    ]
    found = Counter(one for line in drawn for one in line)
    letters = dict(zip(found, string.ascii_letters + string.digits, strict=False))
    letters[found.most_common(1)[0][0]] = " "
    return [
        *("".join(letters[one] for one in line).rstrip() for line in drawn),
        "",
        *(f"{letter} {one}" for one, letter in letters.items()),
    ]


def look(style: Style | None, is_blank: bool) -> str:
    """Colours and attributes as they are seen: a blank has no colour of its own."""
    assert style is not None
    names = ("bold", "dim", "italic", "underline", "reverse", "strike")
    front, back = (colour.name if colour is not None else "default" for colour in (style.color, style.bgcolor))
    attributes = [name for name in names if getattr(style, name)]
    if is_blank and not {"underline", "reverse", "strike"} & set(attributes):
        return f"on {back}"
    return " ".join([f"{front} on {back}", *attributes])


@pytest.mark.parametrize("colour", [True, False])
async def test_screens_look_as_they_did(colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    app = console()
    wrong = []
    async with app.run_test(size=SMALL) as pilot, aclosing(visited(pilot, app)) as views:
        assert app.no_color is not colour
        async for name, is_main in views:
            for size, theme in LOOKS.items():
                if not is_main and (size, colour) != (SMALL, True):
                    continue
                app.theme = theme
                await pilot.resize_terminal(*size)
                if not await is_as_it_was(pilot, name):
                    wrong.append((name, size, theme))
                app.theme = LIGHT if theme == DARK else DARK
                await pilot.pause()
                if is_main and not await is_as_it_was(pilot, name, text_only=True):
                    wrong.append((name, size, app.theme))
            app.theme = DARK
            await pilot.resize_terminal(*SMALL)
    assert wrong == []
