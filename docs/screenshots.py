"""Makes the pictures of README.md and docs/ from a run of the quickstart, as PNG: `make pictures`.

python docs/screenshots.py [--run RUN]

Without `--run` the quickstart is trained first, which takes a few minutes. Textual draws the console's screens as SVG,
`rsvg-convert` makes PNG of them, which look the same everywhere; Chromium draws the report. The pictures of many
runs and of the queue show the written runs of the golden frames. On Debian: apt-get install librsvg2-bin
fonts-dejavu-core chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from textual.pilot import Pilot

from chomp_tui.app import ChompApp
from chomp_tui.platform.screenshot import aligned
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState, StartView
from chomp_tui.widgets.listing import Listing

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.console.gallery import write_gallery  # noqa: E402 - the checkout is no installed package

IMAGES = ROOT / "docs" / "images"
SIZE = (120, 36)
MANY, WIDE = (110, 28), (150, 40)
PIXELS = 1600
# Of a picture's palette: flat colours and the edges of letters.
COLOURS = 160
PAGE = (1000, 940)
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


def program(*names: str) -> str:
    """The first of these programs that is installed."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit(f"error: {' or '.join(names)} is not installed; see the beginning of docs/screenshots.py")
    return found


def keep(app: ChompApp, name: str) -> None:
    """Write the screen as a PNG file."""
    path = IMAGES / f"{name}.png"
    drawn = aligned(app.export_screenshot(title="chomp")).encode()
    subprocess.run([program("rsvg-convert"), "--width", str(PIXELS), "--output", path], input=drawn, check=True)
    shrink(path)


def shrink(path: Path) -> None:
    """Write a PNG file anew with few colours, a quarter as large."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(path)


def keep_page(name: str) -> None:
    """Write the top of a report as a PNG file."""
    path = IMAGES / f"{name}.png"
    page = Path(f"{name}.html")
    subprocess.run([sys.executable, "-m", "chomp", "report", str(RUN), "--output", str(page)], check=True)
    options = ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.5")
    place = f"--screenshot={path}", f"--window-size={PAGE[0]},{PAGE[1]}", page.absolute().as_uri()
    browser = program("chromium", "chromium-browser", "google-chrome")
    subprocess.run([browser, *options, "--user-data-dir=browser", *place], check=True, capture_output=True)
    shrink(path)


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


async def picture_report() -> None:
    """The report of the run."""
    keep_page("report")


async def picture_leaderboard() -> None:
    """Home with several runs, two of them marked, ordered by evaluation."""
    app = console(StartView())
    async with app.run_test(size=MANY) as pilot:
        await until(pilot, lambda: any(one.keys for one in app.screen.query("#run-list").results(Listing)))
        await pilot.press("s", "home", "space", "down", "space")
        await pilot.pause(1)
        keep(app, "leaderboard")


async def picture_compare() -> None:
    """A fork against its parent."""
    app = console(StartView())
    async with app.run_test(size=WIDE) as pilot:
        app.compare_runs([Path("runs/steady"), Path("runs/steady-lower-lr")])
        await until(pilot, lambda: app.screen is app.screen_of("compare") and app.screen_of("compare").is_ready)
        keep(app, "compare")


async def picture_queue() -> None:
    """The queue with a sweep."""
    app = console(StartView())
    async with app.run_test(size=MANY) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: any(one.keys for one in app.screen.query("#sweep-list").results(Listing)))
        keep(app, "queue")


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a finished run of the quickstart")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        settle(Path(folder), options.run.resolve() if options.run is not None else None)
        for picture in (picture_run, picture_configure, picture_checkpoints, picture_report):
            asyncio.run(picture())
    with tempfile.TemporaryDirectory() as folder:
        write_gallery(Path(folder))
        os.chdir(folder)
        for picture in (picture_leaderboard, picture_compare, picture_queue):
            asyncio.run(picture())


if __name__ == "__main__":
    main()
