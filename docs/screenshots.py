"""Makes the pictures of docs/console.md and README.md from a run of the quickstart.

python docs/screenshots.py [--run RUN]

Without `--run` the quickstart is trained first, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from chomp_tui.app import ChompApp, Opening, Shared
from chomp_tui.settings import Settings

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SIZE = (120, 36)
PATIENCE_SECONDS = 120


def train(run: Path) -> None:
    """Train the quickstart to its end."""
    config = ROOT / "configs" / "quickstart.yaml"
    subprocess.run([sys.executable, "-m", "chomp", "train", str(config), "--run-dir", str(run)], check=True)


async def until(pilot: Pilot[None], ready: Callable[[], bool]) -> None:
    """Wait for what child processes and threads bring."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("the screen did not become ready")
        await pilot.pause(0.2)
    await pilot.pause(0.5)


def console(run: Path, opening: Opening) -> ChompApp:
    shared = Shared(Settings(path=run / ".settings.yaml"), runs=run.parent, configs=ROOT / "configs")
    return ChompApp(shared, opening)


def keep(app: ChompApp, name: str) -> None:
    """Write the screen as an SVG file."""
    (IMAGES / f"{name}.svg").write_text(app.export_screenshot(title="chomp"), encoding="utf-8")
    print(IMAGES / f"{name}.svg")


async def picture_run(run: Path) -> None:
    """The run view."""
    app = console(run, Opening(mode="run", run=run))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.run_screen.update_at_hand is not None)
        keep(app, "run")


async def picture_configure(run: Path) -> None:
    """The configure screen with its pre-flight done."""
    app = console(run, Opening(mode="configure", config=ROOT / "configs" / "quickstart.yaml"))
    async with app.run_test(size=(SIZE[0] + 40, SIZE[1] + 8)) as pilot:
        await until(pilot, lambda: app.configure_screen.is_inspected)
        keep(app, "configure")


async def picture_checkpoints(run: Path) -> None:
    """The checkpoints of the run, one of them verified."""
    app = console(run, Opening())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.5)
        app.show_checkpoints(run)
        await until(pilot, lambda: app.checkpoints_screen.row() is not None)
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
        run = options.run or Path(folder) / "quickstart"
        if options.run is None:
            train(run)
        for picture in (picture_run, picture_configure, picture_checkpoints):
            asyncio.run(picture(run))


if __name__ == "__main__":
    main()
