"""The key that writes a report: of the run, of the compared runs, of those marked on Home."""

from __future__ import annotations

import shutil
from pathlib import Path

from chomp.record.fork import fork_run
from chomp.report.page import MARK
from chomp_tui.app import ChompApp
from chomp_tui.screens.reporting import proposed
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.dialogs import Ask
from chomp_tui.widgets.listing import Listing
from tests.console import test_compare as comparing
from tests.console.hosting import notices, until
from tests.console.test_run_screen import host, screen_of
from tests.fakeruns import FakeRun, write_run
from tests.record.test_comparison import make_run


async def test_a_key_writes_a_report_and_says_where_and_what_is_in_the_way(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "demo", FakeRun(steps=300, total=1_000))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen_of(app).snapshot() is not None)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        place = run.path / "report.html"
        await until(pilot, lambda: f"wrote {place}" in app.told)
        assert place.read_text().startswith(MARK)
        place.write_text("mine")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: any("is not a report, and is not replaced" in said for said in app.told))
        assert place.read_text() == "mine"


async def test_a_read_only_console_writes_no_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "demo", FakeRun(steps=300, total=1_000))
    app = host(tmp_path, run.path, read_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen_of(app).snapshot() is not None)
        await pilot.press("R")
        await until(pilot, lambda: "this console is read-only" in app.told)
        assert not isinstance(app.screen, Ask)


async def test_a_fork_is_reported_beside_its_parent(tmp_path: Path) -> None:
    parent = make_run(tmp_path / "runs" / "parent")
    fork = fork_run(parent, 100, tmp_path / "runs" / "fork")
    make_run(fork.path, shift=-0.02, start=100)
    app = host(tmp_path, fork.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen_of(app).snapshot() is not None)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        place = fork.path / "report.html"
        await until(pilot, lambda: f"wrote {place}" in app.told)
        assert "parent is higher than fork, beyond the noise of the steps" in place.read_text()


async def test_the_compared_runs_are_one_report(tmp_path: Path) -> None:
    runs = comparing.runs_in(tmp_path / "runs", 3)
    app = comparing.host(tmp_path, [run.path for run in runs[:2]])
    async with app.run_test(size=(80, 24)) as pilot:
        await comparing.read(pilot, app, "run-00", "run-01")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        place = tmp_path / "runs" / "report-run-00-run-01.html"
        await until(pilot, lambda: f"wrote {place}" in app.told)
        assert "run-01 is higher than run-00, beyond the noise of the steps" in place.read_text()
        # A run that goes away is named.
        comparing.screen_of(app).show_runs([run.path for run in runs])
        await comparing.read(pilot, app, "run-00", "run-01", "run-02")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        shutil.rmtree(runs[1].path)
        await pilot.press("enter")
        place = tmp_path / "runs" / "report-run-00-and-2-more.html"
        await until(pilot, lambda: f"wrote {place}" in app.told)
        assert any(said.startswith("run-01 is left out: there is no run directory") for said in app.told)
        page = place.read_text()
        assert "run-02" in page
        assert "run-01" not in page


async def test_the_marked_runs_of_home_are_one_report(tmp_path: Path) -> None:
    runs = comparing.runs_in(tmp_path / "runs", 3)
    settings = Settings(path=tmp_path / "console.yaml", home_sort="name")
    app = ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=tmp_path / "none"))
    async with app.run_test(size=(120, 40)) as pilot:
        home = app.screen_of("home")
        await until(pilot, lambda: home.is_ready and len(home.query_one("#run-list", Listing).keys) == 3)
        await pilot.press("a", "R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        place = tmp_path / "runs" / proposed([run.path for run in runs]).name
        await until(pilot, lambda: f"wrote {place}" in notices(app))
        page = place.read_text()
        assert all(run.path.name in page for run in runs)
