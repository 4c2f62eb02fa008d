"""Folders in which nothing can be written: each screen says so in one sentence, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from chomp.record.manifest import list_checkpoints
from chomp_tui.app import ChompApp
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.configure.launch_flow import CHECKING
from chomp_tui.settings import load_settings
from chomp_tui.state import ConsoleState, StartView
from chomp_tui.widgets.dialogs import Ask, Choose, Read
from tests.console.fakehelper import fake_helper
from tests.console.hosting import frame, notices, until
from tests.console.plainuser import read_only
from tests.console.test_configure import FIGURES
from tests.fakeruns import TEXT, FakeRun, ended, make_checkpoint, make_run, write_run

# Each starts the whole console.

DENIED = "Permission denied"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration, a live run and one with checkpoints, none of which can be written."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(TEXT)
    write_run(tmp_path / "runs" / "live", FakeRun(steps=300, live=True))
    run = make_run(tmp_path / "runs" / "saved", end=ended("stopped", 20), age=7_000)
    make_checkpoint(run, 10)
    make_checkpoint(run, 20, tags=("base",))
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    with read_only(tmp_path):
        yield tmp_path
        assert everything(tmp_path) == before, "something was written, or lost"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def console(opening: StartView | None = None) -> ChompApp:
    app = ChompApp(ConsoleState(load_settings(Path("console.yaml").absolute())[0]), opening)
    # Pre-flight finds nothing; what is told here is what a start itself runs into.
    app.state.helper = fake_helper(f"import json; print(json.dumps({FIGURES!r}))")
    return app


async def sentences(pilot: Pilot[None], number: int = 1) -> list[str]:
    """What was told in passing, once there are so many messages; one line each, and no number of an error."""
    app = pilot.app

    def told() -> list[str]:
        return [one for one in notices(app) if one != CHECKING]

    await until(pilot, lambda: len(told()) >= number)
    found = told()
    assert len(found) == number
    assert not any("\n" in one or "Errno" in one for one in found), found
    app.clear_notifications()
    return found


async def screen(pilot: Pilot[None], kind: type) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))
    await pilot.pause()


async def test_home_does_not_delete_the_run(place: Path) -> None:
    # What is in it could be deleted: it must not be before the run itself is sure to go.
    for folder in (place / "runs" / "saved").rglob("*/"):
        folder.chmod(0o755)
    (place / "runs" / "saved").chmod(0o755)
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        home = app.screen_of("home")
        await until(pilot, lambda: app.screen is home and home.run_summary() is not None)
        await pilot.press("end", "d")
        await screen(pilot, Choose)
        await pilot.press("y")
        assert await sentences(pilot) == [f"{Path('runs/saved')} cannot be deleted: {DENIED}"]
        await until(pilot, lambda: any("saved" in line and "stopped" in line for line in frame(app)))


async def test_checkpoints_are_neither_tagged_nor_deleted_nor_gone_on_from(place: Path) -> None:
    app = console()
    folder = Path("runs/saved/checkpoints/20")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        app.show_checkpoints(Path("runs/saved"))
        await until(pilot, lambda: app.screen is app.checkpoints_screen and app.checkpoints_screen.row() is not None)
        await pilot.press("t")
        await screen(pilot, Ask)
        await pilot.press(*"!", "enter")
        assert await sentences(pilot) == [f"{folder} cannot be changed: {DENIED}"]
        await pilot.press("d")
        await screen(pilot, Choose)
        await pilot.press("y")
        assert await sentences(pilot) == [f"checkpoint {folder} cannot be deleted: {DENIED}"]
        assert [info.tags for info in list_checkpoints(Path("runs/saved/checkpoints"))] == [(), ("base",)]
        # It can be compared, since that writes nothing.
        await pilot.press("v")
        await until(pilot, lambda: any("✓ yes" in line for line in frame(app)))
        await pilot.press("enter")
        await screen(pilot, Read)
        words = " ".join(" ".join(frame(app)).replace("│", " ").split())
        assert f"no engine was started for runs/saved: runs/saved/train.log: {DENIED}" in words
        await pilot.press("escape")
        await pilot.press("f")
        await until(pilot, lambda: app.screen is app.configure_screen and app.configure_screen.draft.fork is not None)
        await until(pilot, lambda: "fork of" in "\n".join(frame(app)))
        app.clear_notifications()
        await pilot.press("f5")
        told = await sentences(pilot, 2)
        assert "forking saved at step 20" in told[0]
        assert told[1].startswith("not started: cannot fork to runs/saved-fork-")
        assert DENIED in told[1]
        assert isinstance(app.screen, ConsoleScreen)


async def test_a_configuration_is_neither_saved_nor_started_and_stays_on_the_screen(place: Path) -> None:
    app = console(StartView(mode="configure", config=Path("configs/tiny.yaml")))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.configure_screen.is_ready)
        document = app.configure_screen.document
        await pilot.press("f4", "enter", "ctrl+home", *"#kept", "enter", "f2")
        path = Path("configs/tiny.yaml")
        assert await sentences(pilot) == [f"{path} cannot be written: {DENIED}; save under another name with F3"]
        assert document.is_modified
        assert document.text == f"#kept\n{TEXT}"
        await pilot.press("f5")
        await screen(pilot, Choose)
        await pilot.press("s")
        assert await sentences(pilot) == [f"{path} cannot be written: {DENIED}; save under another name with F3"]
        await pilot.press("ctrl+z", "ctrl+z", "ctrl+z")
        await until(pilot, lambda: not document.is_modified)
        await pilot.press("f5")
        await screen(pilot, Read)
        words = " ".join(" ".join(frame(app)).replace("│", " ").split())
        assert "no engine was started for runs/tiny-" in words
        assert DENIED in words
        assert not app.state.live
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.configure_screen)


async def test_a_run_is_shown_and_says_that_it_cannot_be_steered(place: Path) -> None:
    app = console(StartView(mode="run", run=Path("runs/live")))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "300/10,000" in "\n".join(frame(app)))
        await pilot.press("c")
        await until(pilot, lambda: f"save: commands.jsonl cannot be written: {DENIED}" in "\n".join(frame(app)))
        # How charts are drawn lasts as long as the console where it cannot be kept.
        await pilot.press("y")
        assert app.state.settings.log_y
        await pilot.pause(0.7)
        assert app.is_running
