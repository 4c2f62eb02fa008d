"""Makes the pictures of docs/console.md and README.md from a run of the quickstart.

python docs/screenshots.py [--run RUN]

Without `--run` the quickstart is trained first, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from chomp_tui.app import ChompApp
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState, StartView

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SIZE = (120, 36)
PATIENCE_SECONDS = 120


CONFIG = Path("configs/quickstart.yaml")
RUN = Path("runs/quickstart")


def settle(folder: Path, trained: Path | None) -> None:
    """Make `folder` look like a checkout with one run in it, and go there: pictures show no paths of this machine."""
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "runs").mkdir()
    os.chdir(folder)
    if trained is not None:
        RUN.symlink_to(trained)
    else:
        subprocess.run([sys.executable, "-m", "chomp", "train", str(CONFIG), "--run-dir", str(RUN)], check=True)


async def until(pilot: Pilot[None], ready: Callable[[], bool]) -> None:
    """Wait for what child processes and threads bring."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("the screen did not become ready")
        await pilot.pause(0.2)
    await pilot.pause(0.5)


def console(opening: StartView) -> ChompApp:
    return ChompApp(ConsoleState(Settings(path=Path("console.yaml"))), opening)


def keep(app: ChompApp, name: str) -> None:
    """Write the screen as an SVG file."""
    (IMAGES / f"{name}.svg").write_text(app.export_screenshot(title="chomp"), encoding="utf-8")
    print(IMAGES / f"{name}.svg")


async def picture_run() -> None:
    """The run view."""
    app = console(StartView(mode="run", run=RUN))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: (snapshot := app.run_screen.snapshot()) is not None and len(snapshot.view.rows) > 0)
        keep(app, "run")


async def picture_configure() -> None:
    """The configure screen with its pre-flight done."""
    app = console(StartView(mode="configure", config=CONFIG))
    async with app.run_test(size=(SIZE[0] + 40, SIZE[1] + 8)) as pilot:
        await until(pilot, lambda: app.configure_screen.is_inspected)
        keep(app, "configure")


async def picture_checkpoints() -> None:
    """The checkpoints of the run, one of them verified."""
    app = console(StartView())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.5)
        app.show_checkpoints(RUN)
        screen = app.checkpoints_screen
        await until(pilot, lambda: app.screen is screen and screen.row() is not None)
        await pilot.press("v")
        await pilot.pause(2)
        keep(app, "checkpoints")


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a finished run of the quickstart")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        settle(Path(folder), options.run.resolve() if options.run is not None else None)
        for picture in (picture_run, picture_configure, picture_checkpoints):
            asyncio.run(picture())


if __name__ == "__main__":
    main()
