"""The compare screen: its charts, its table, what it says of runs that cannot be read; written records, no engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from chomp.record.rundir import RunDir
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.widgets.chart import LineChart
from tests.console.hosting import Host, console_state, frame, until
from tests.record.test_comparison import make_run


def runs_in(root: Path, count: int) -> list[RunDir]:
    """Runs of 200 steps that read the same batches, the later the worse."""
    return [make_run(root / f"run-{number:02d}", shift=number / 20) for number in range(count)]


def host(tmp_path: Path, paths: Sequence[Path], **options: Any) -> Host:
    screen = CompareScreen()
    screen.show_runs(paths)
    return Host(screen, console_state(tmp_path / "runs", tmp_path / "none", **options))


def screen_of(app: Host) -> CompareScreen:
    assert isinstance(app.held, CompareScreen)
    return app.held


def charts_of(app: Host) -> tuple[LineChart, LineChart]:
    """The chart of losses, and that of the difference."""
    return app.screen.query_one("#compare-loss", LineChart), app.screen.query_one("#compare-difference", LineChart)


async def read(pilot: Pilot[Any], app: Host, *names: str) -> None:
    """Wait until these runs are shown."""
    await until(pilot, lambda: screen_of(app).is_ready and {one.name for one in charts_of(app)[0].series} == set(names))
    await pilot.pause()


async def test_other_runs_open_on_the_whole_range(tmp_path: Path) -> None:
    paths = [run.path for run in runs_in(tmp_path / "runs", 4)]
    app = host(tmp_path, paths[:2])
    async with app.run_test(size=(120, 40)) as pilot:
        loss, _ = charts_of(app)
        await read(pilot, app, "run-00", "run-01")
        await pilot.press("plus", "plus")
        assert loss.zoomed
        # The same runs with another baseline stay as they are.
        await pilot.press("b")
        await until(pilot, lambda: screen_of(app).is_ready and loss.series[0].name == "run-01")
        assert loss.zoomed
        screen_of(app).show_runs(paths[2:])
        # No number of the old ones is left while the new ones are read.
        assert not loss.series
        await read(pilot, app, "run-02", "run-03")
        assert not loss.zoomed
        assert "run-00" not in "\n".join(frame(app))
