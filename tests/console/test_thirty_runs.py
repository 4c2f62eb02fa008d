"""Thirty runs that the engine trained, ranked on the command line and on Home, and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chomp.record.events import Evaluated
from chomp_tui.app import ChompApp
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.screens.home.screen import HomeScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.listing import Listing
from tests.console.hosting import frame, until
from tests.engine import dummy_config, events_of, write_config
from tests.in_process import run
from tests.references import References

RUNS, STEPS = 30, 30


@pytest.mark.soak
async def test_thirty_trained_runs_are_ranked_and_compared(references: References, tmp_path: Path) -> None:
    train = {"steps": STEPS, "eval_every": 10, "log_every": 1}
    config = write_config(
        tmp_path / "c.yaml", dummy_config(references.corpus, train=train, checkpoint={"save_every": 0})
    )
    root, losses = tmp_path / "runs", {}
    for number in range(RUNS):
        name = f"run-{number:02d}"
        options = ("-o", f"optim.lr={1e-4 * 1.3**number}", "-o", f"train.seed={number // 3}")
        done = run("train", config, "--run-dir", root / name, *options)
        assert done.returncode == 0, done.stderr
        losses[name] = min(event.loss for event in events_of(root / name, Evaluated))
    assert len(set(losses.values())) > RUNS / 2, "the rates made no difference"
    listed = json.loads(run("runs", root, "--sort", "eval", "--json").stdout)
    best, second, *_ = order = [entry["name"] for entry in listed]
    assert [losses[name] for name in order] == sorted(losses.values())
    few = json.loads(run("runs", root, "--where", "optim.lr>1e-3", "--json").stdout)
    assert {entry["name"] for entry in few} == {f"run-{n:02d}" for n in range(RUNS) if 1e-4 * 1.3**n > 1e-3}
    compared = run("compare", root / best, root / second)
    assert compared.returncode == 0, compared.stderr
    assert "optim.lr" in compared.stdout
    app = ChompApp(ConsoleState(Settings(path=tmp_path / "console.yaml"), runs=root, configs=tmp_path / "none"))
    async with app.run_test(size=(120, 40)) as pilot:
        home = app.screen_of("home")
        assert isinstance(home, HomeScreen)
        await until(pilot, lambda: home.is_ready and len(home.found.runs) == RUNS and not home.found.unread)
        listing = home.query_one("#run-list", Listing)
        await pilot.press("s")
        await until(pilot, lambda: [Path(key).name for key in listing.keys] == order)
        await pilot.press("home", "space", "space", "c")
        screen = app.screen_of("compare")
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: app.screen is screen and "optim.lr" in "\n".join(frame(app)))
        assert best in "\n".join(frame(app))
        assert second in "\n".join(frame(app))
