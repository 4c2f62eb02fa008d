"""The key that writes a report of the run."""

from __future__ import annotations

from pathlib import Path

from chomp.report.page import MARK
from chomp_tui.widgets.dialogs import Ask
from tests.console.hosting import until
from tests.console.test_run_screen import host, screen_of
from tests.fakeruns import FakeRun, write_run


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
