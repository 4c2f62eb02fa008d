"""Whole screens as text, compared with files; `CHOMP_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from chomp_tui.app import ChompApp, Opening, Shared
from chomp_tui.screens.configure import ConfigureScreen
from chomp_tui.screens.help import HelpScreen
from chomp_tui.settings import Settings
from tests.console.fakeruns import FakeRun, write_run
from tests.console.hosting import frame, until
from tests.console.test_configure import FIGURES

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = Opening(mode="configure", config=Path("configs/quickstart.yaml"))
DAY_SECONDS = 86_400


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
    monkeypatch.chdir(tmp_path)


async def drawn(size: tuple[int, int], opening: Opening, shows: str, *keys: str) -> str:
    """What stands on the screen once it shows `shows` and the keys were pressed."""
    app = ChompApp(Shared(Settings()), opening)
    figures = Path("figures.py").resolve()
    figures.write_text(f"import json\nprint(json.dumps({FIGURES!r}))\n")
    app.configure_screen = ConfigureScreen(inspect=(sys.executable, str(figures)), debounce_seconds=0)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: shows in "\n".join(frame(app)))
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        if "f1" in keys:
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        lines: list[str] = []

        def settled() -> bool:
            nonlocal lines
            before, lines = lines, frame(app)
            return before == lines

        await until(pilot, settled)
        await pilot.pause(0.3)
        await until(pilot, settled)
    return "\n".join(line.rstrip() for line in lines) + "\n"


@pytest.mark.parametrize(
    ("name", "size", "opening", "shows", "keys"),
    [
        ("run", (80, 24), Opening(mode="run", run=Path("runs/steady")), "10,000/10,000", ()),
        ("run_log_y", (80, 24), Opening(mode="run", run=Path("runs/steady")), "10,000/10,000", ("y",)),
        ("run_crashed", (80, 24), Opening(mode="run", run=Path("runs/wild")), "crashed", ()),
        ("run_samples", (80, 24), Opening(mode="run", run=Path("runs/steady")), "10,000/10,000", ("n",)),
        ("home", (80, 24), Opening(), "steady", ()),
        ("help", (80, 24), Opening(mode="run", run=Path("runs/steady")), "10,000/10,000", ("f1",)),
        ("configure", (80, 24), QUICKSTART, "! tight", ()),
        ("configure_wide", (160, 48), QUICKSTART, "! tight", ("tab", "down", "down")),
        ("help_wide", (160, 48), QUICKSTART, "! tight", ("f1",)),
    ],
)
async def test_a_screen_looks_as_it_did(
    name: str, size: tuple[int, int], opening: Opening, shows: str, keys: tuple[str, ...]
) -> None:
    text = await drawn(size, opening, shows, *keys)
    path = GOLDEN / f"screen_{name}.txt"
    if os.environ.get("CHOMP_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
