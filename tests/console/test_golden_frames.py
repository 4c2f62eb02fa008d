"""Whole screens as text, compared with files; `CHOMP_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from chomp.record.manifest import read_info, seal
from chomp.record.rundir import RunDir
from chomp_tui.app import ChompApp
from chomp_tui.engine.machine import Machine
from chomp_tui.live import gpu_watch as gpuwatch
from chomp_tui.screens.configure.screen import ConfigureScreen
from chomp_tui.screens.device.screen import DeviceScreen
from chomp_tui.screens.help import HelpScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState, StartView
from tests.console.fakehelper import fake_helper
from tests.console.hosting import frame, until
from tests.console.test_configure import FIGURES
from tests.device.fake_nvml import fake
from tests.fakeruns import TEXT, FakeRun, make_checkpoint, make_run, write_run

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = StartView(mode="configure", config=Path("configs/quickstart.yaml"))
DAY_SECONDS = 86_400
# Of a log's lines and of alerts, in the local time of this machine.
STAMP = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")
SOME_STAMP = "2026-01-02 03:04:05"


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that ended days ago, so that no age changes while a picture is taken."""
    (tmp_path / "configs").symlink_to(CONFIGS)
    # Whole seconds: times with fewer digits would make the files, whose size is shown, smaller.
    now = float(round(time.time()))
    write_run(
        tmp_path / "runs" / "steady",
        FakeRun(steps=10_000, ending="completed", reason="all 10000 steps done"),
        now=now - 3.5 * DAY_SECONDS,
    )
    wild = FakeRun(steps=900, ending="crashed", reason="step 900: the loss is nan", nonfinite_at=(90,))
    write_run(tmp_path / "runs" / "wild", wild, now=now - 5.5 * DAY_SECONDS)
    # The days on which they ended are others each day.
    monkeypatch.setattr("chomp_tui.widgets.run_rows.when_text", lambda t, now: "Nov 26")
    monkeypatch.chdir(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=500 * 10**9)
    monkeypatch.setattr("chomp_tui.live.feed.shutil.disk_usage", lambda _: usage)


async def drawn(app: ChompApp, size: tuple[int, int], shows: str, *keys: str) -> str:
    """The text on the screen once it shows `shows` and the keys were pressed."""
    figures = Path("figures.py").resolve()
    figures.write_text(f"import json\nprint(json.dumps({FIGURES!r}))\n")
    app.state.helper = fake_helper(figures)
    app.built["configure"] = ConfigureScreen(debounce_seconds=0)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: shows in "\n".join(frame(app)))
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        if "f1" in keys:
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        return await settled(pilot)


async def settled(pilot: Pilot[None]) -> str:
    """The screen once it stays as it is; the dates of a log are always the same ones."""
    lines: list[str] = []

    def stays() -> bool:
        nonlocal lines
        before, lines = lines, frame(pilot.app)
        return before == lines

    await until(pilot, stays)
    await pilot.pause(0.3)
    await until(pilot, stays)
    return STAMP.sub(lambda found: SOME_STAMP[-len(found[0]) :], "\n".join(line.rstrip() for line in lines) + "\n")


def compare(name: str, text: str) -> None:
    path = GOLDEN / f"screen_{name}.txt"
    if os.environ.get("CHOMP_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


STEADY = StartView(mode="run", run=Path("runs/steady"))


@pytest.mark.parametrize(
    ("name", "size", "opening", "shows", "keys"),
    [
        ("run", (80, 24), STEADY, "10,000/10,000", ()),
        ("run_wide", (160, 48), STEADY, "10,000/10,000", ()),
        ("run_log_y", (80, 24), STEADY, "10,000/10,000", ("y",)),
        ("run_crashed", (80, 24), StartView(mode="run", run=Path("runs/wild")), "crashed", ()),
        ("run_samples", (80, 24), STEADY, "10,000/10,000", ("n",)),
        ("home", (80, 24), StartView(), "steady", ()),
        ("help", (80, 24), STEADY, "10,000/10,000", ("f1",)),
        ("configure", (80, 24), QUICKSTART, "! tight", ()),
        ("configure_edit", (120, 40), QUICKSTART, "! tight", (*"2", "ctrl+f", *"prompts", "enter")),
        ("configure_all", (200, 60), QUICKSTART, "! tight", ("up", "up", "a", "right", "down")),
        ("configure_wide", (160, 48), QUICKSTART, "! tight", ("tab", "down", "down")),
        ("help_wide", (160, 48), QUICKSTART, "! tight", ("f1",)),
    ],
)
async def test_a_screen_looks_as_it_did(
    name: str, size: tuple[int, int], opening: StartView, shows: str, keys: tuple[str, ...]
) -> None:
    compare(name, await drawn(ChompApp(ConsoleState(Settings()), opening), size, shows, *keys))


@pytest.mark.parametrize(("name", "size"), [("checkpoints", (80, 24)), ("checkpoints_wide", (160, 48))])
async def test_checkpoints_look_as_they_did(name: str, size: tuple[int, int]) -> None:
    for number, text in enumerate((TEXT, TEXT.replace("3e-3", "1e-3"), TEXT.replace("model_dim: 16", "model_dim: 32"))):
        run = RunDir(Path("runs") / f"saved-{number % 2}")
        if number < 2:
            make_run(run.path, age=6.5 * DAY_SECONDS)
        tags = ("before the new data",) if number == 1 else ()
        folder = make_checkpoint(run, 10 + 10 * number, text=text, eval_loss=4.25 - number, tags=tags)
        # Large enough for a new setting not to change the size as it is shown.
        os.truncate(folder / "params" / "d", 4_000_000)
        saved_at = round(time.time()) - (6.5 - number) * DAY_SECONDS
        seal(folder, {**read_info(folder).meta, "saved_at": saved_at})
    app = ChompApp(ConsoleState(Settings()))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        await pilot.press("5")
        await until(pilot, lambda: app.screen is app.checkpoints_screen and app.checkpoints_screen.row() is not None)
        compare(name, await settled(pilot))


@pytest.mark.parametrize(
    ("name", "size", "colour"),
    [("device", (80, 24), True), ("device_wide", (160, 48), True), ("device_colourless", (120, 40), False)],
)
async def test_a_device_looks_as_it_did(
    name: str, size: tuple[int, int], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    # One reading, so that curves have one place to be.
    monkeypatch.setattr(gpuwatch, "INTERVAL_SECONDS", 3_600.0)
    app = ChompApp(ConsoleState(Settings()))
    machine = Machine(16, 64 << 30, "jax-cuda13-plugin 0.10.2", 25.0, 8 << 30)
    environ = {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}
    app.built["device"] = DeviceScreen(lambda: fake("rtx5090"), environ, lambda: machine)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        await pilot.press("3")
        await until(pilot, lambda: "RTX 5090" in "\n".join(frame(app)))
        compare(name, await settled(pilot))
        assert app.no_color is not colour
