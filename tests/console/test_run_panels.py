"""Going to panels by digits, two samples side by side, and what the footer offers of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chomp.record.events import Checkpoint, Phase
from chomp_tui.keys import PANELS
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard import Dashboard
from chomp_tui.screens.run.dashboard_layout import plan
from chomp_tui.widgets.listing import Listing
from chomp_tui.widgets.samples import SamplesPanel
from tests.console.hosting import frame, until
from tests.console.test_run_screen import LIVE, host, screen_of, shows, text
from tests.fakeruns import FakeRun, append, write_run


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_digits_lead_to_panels_and_v_compares_two_samples(size: tuple[int, int], tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "smoothed")
        board = screen_of(app).query_one(Dashboard)
        for digit, name in enumerate(PANELS, 1):
            await pilot.press(f"alt+{digit}")
            wanted = "speed" if name == "charts" else name
            await until(pilot, lambda wanted=wanted: (panel := board.focused_panel()) and panel.id == wanted)
        await pilot.press("v")
        samples = screen_of(app).query_one(SamplesPanel)
        newest, before = samples.query_one(Listing).keys[:2]
        await until(pilot, lambda: board.zoomed == "samples" and samples.marked == before)
        assert samples.query_one(Listing).selected == newest
        await shows(pilot, f"◆ step {before.partition('@')[0]} ", f"step {newest.partition('@')[0]} ")
        await pilot.press("v")
        await until(pilot, lambda: board.zoomed is None and samples.marked is None)


async def test_the_footer_names_what_a_key_does_now_and_the_dashboard_stays_where_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", replace(LIVE, steps=100))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "● training", "p Pause")
        top = screen_of(app).query_one(Dashboard).region
        append(run, Phase("paused", 100))
        await shows(pilot, "‖ paused · p resumes", "p Resume")
        assert "r Resume" not in text(app)
        await pilot.press("p")
        await shows(pilot, "resume: asked", "p Pause")
        assert screen_of(app).query_one(Dashboard).region == top, "a command moves nothing"
        # A run without a checkpoint has nothing to resume from.
        for step in list(screen_of(app).snapshot().checkpoints):  # type: ignore[union-attr]
            append(run, Checkpoint("deleted", step))
        run.lock.write_text("")
        await shows(pilot, "✗ crashed")
        await until(pilot, lambda: "p Pause" not in frame(app)[-1])
        assert "Resume" not in frame(app)[-1]
        append(run, Checkpoint("committed", 100, 10, 1.0, 0.1))
        await shows(pilot, "r Resume")


def test_the_log_has_the_room_of_samples_until_there_is_one() -> None:
    without, with_samples = (plan(160, 44, chosen="log", extra=extra) for extra in ((), ("samples",)))
    assert without.tabs == ("log", "samples", "facts", "alerts")
    assert without.regions["log"].width == without.regions["loss"].width
    assert "samples" not in without.regions
    assert with_samples.tabs == ("log", "facts", "alerts")
    beside = with_samples.regions["samples"].width + with_samples.regions["log"].width
    assert beside == with_samples.regions["loss"].width
    assert plan(160, 44, chosen="samples").regions["samples"] == without.regions["log"]


async def test_the_cursor_leaves_checkpoints_that_retention_deletes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "● training", "saved · Enter opens")
        listing = screen_of(app).query_one(RunCheckpoints).query_one(Listing)
        first, second = listing.keys[:2]
        assert listing.selected == first
        append(run, Checkpoint("deleted", int(first)))
        await until(pilot, lambda: listing.selected == second and first not in listing.keys)
        await shows(pilot, "1 deleted by retention")
