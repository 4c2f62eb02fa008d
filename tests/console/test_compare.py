"""The compare screen: its charts, its table, what it says of runs that cannot be read; written records, no engine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from chomp.record.run_record import load_record
from chomp.record.rundir import RunDir
from chomp_tui.chart.window import Window
from chomp_tui.live.comparison_feed import ComparisonFeed
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.screens.compare.table import CompareTable
from chomp_tui.screens.compare.values import fitted_settings
from chomp_tui.widgets.chart import LineChart
from tests.console.hosting import Host, console_state, frame, until
from tests.record.test_comparison import TEXT, make_run


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


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_chart_keys_act_on_what_is_shown_and_both_charts_follow(size: tuple[int, int], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    # Of the second run there is only the first half, and so of the difference.
    paths = [make_run(root / "long").path, make_run(root / "half", shift=0.1, steps=100).path]
    app = host(tmp_path, paths)
    async with app.run_test(size=size) as pilot:
        loss, difference = charts_of(app)
        await read(pilot, app, "long", "half")
        is_wide = size[0] > 100
        if not is_wide:
            await pilot.press("d")
            await pilot.pause()
        # Zoomed: what is shown changes, and the other chart shows the same part of x.
        shown = loss if is_wide else difference
        before = shown.as_text()
        await pilot.press("plus")
        assert shown.as_text() != before
        assert shown.zoomed
        await pilot.press("0", "plus", "left_square_bracket")
        assert loss.window == difference.window != Window()
        assert loss.window.end is not None
        await pilot.press("right_square_bracket", "minus")
        assert not loss.zoomed
        # All values, or those of the calm part.
        await pilot.press("a")
        assert [loss.show_all, difference.show_all] == [True, True]
        await pilot.press("a")
        assert [loss.show_all, difference.show_all] == [False, False]
        # A crosshair on either is one on both; the keys are those of a focused chart.
        shown.focus()
        await pilot.press("home", "right")
        await until(pilot, lambda: loss.cross is not None and loss.cross == difference.cross)
        await pilot.press("end")
        await until(pilot, lambda: loss.cross == difference.cross == (200 if is_wide else 100))
        await pilot.press("plus")
        assert shown.zoomed
        await pilot.press("escape")
        await until(pilot, lambda: loss.cross is None and difference.cross is None)
        # Another x axis keeps the part on both.
        await pilot.press("x")
        await until(pilot, lambda: loss.extent[1] == 200 * 250)
        assert loss.window.width == difference.window.width is not None


async def test_the_difference_leads_to_the_part_that_it_shows(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    paths = [make_run(root / "long").path, make_run(root / "half", shift=0.1, steps=100).path]
    app = host(tmp_path, paths)
    async with app.run_test(size=(200, 60)) as pilot:
        loss, difference = charts_of(app)
        await read(pilot, app, "long", "half")
        difference.focus()
        await pilot.press("plus")
        assert loss.window.span(*loss.extent) == difference.window.span(*difference.extent)
        assert difference.window.end is None, "it follows its newest record"


@pytest.mark.parametrize(("size", "names_both"), [((120, 40), True), ((80, 24), False)])
async def test_the_heading_gives_the_raw_loss(size: tuple[int, int], names_both: bool, tmp_path: Path) -> None:
    paths = [run.path for run in runs_in(tmp_path / "runs", 2)]
    app = host(tmp_path, paths)
    async with app.run_test(size=size) as pilot:
        loss, _ = charts_of(app)
        await read(pilot, app, "run-00", "run-01")
        heading = loss.as_text().splitlines()[0]
        rows = [load_record(path).own_rows["loss"] for path in paths]
        averages = [line.y[-1] for line in loss.series if not line.sparse]
        assert heading.startswith("loss")
        for name, raw, average in zip(("run-00", "run-01"), rows, averages, strict=True):
            both = f" {name} {raw[-1]:.4f} smoothed {average:.4f} eval "
            assert (both if names_both else f" {name} {raw[-1]:.4f} eval ") in heading
        # At the crosshair, too.
        loss.focus()
        await pilot.press("home")
        await pilot.pause()
        assert f" {rows[0][0]:.4f} " in loss.as_text().splitlines()[0]
        # Where only evaluations are shown, they are not called the loss.
        await pilot.press("escape", "e")
        await pilot.pause()
        assert loss.as_text().startswith("eval loss")


def test_numbers_lose_digits_and_only_other_texts_lose_their_middle() -> None:
    rates = (0.0033462612345, 1e-4 / 3, 0.1)
    assert fitted_settings(rates, 9) == ["0.003346", "3.333e-05", "0.1"]
    # Different numbers differ, where there is room.
    assert fitted_settings((0.00334621, 0.00334622, None), 10) == ["0.00334621", "0.00334622", "–"]
    assert fitted_settings((0.00334621, 0.00334622), 9) == ["0.0033462", "0.0033462"]
    assert fitted_settings((-1.23456e-100, 123_456_789_012, True), 9) == ["-1.2e-100", "1.235e+11", "true"]
    for number in (rates[0], -1.23456e-100, 123_456_789_012, 1e22, -5, 12345.678):
        for cells in range(7, 14):
            (text,) = fitted_settings((number,), cells)
            assert len(text) <= cells
            assert float(text) == pytest.approx(number, rel=0.06)
    assert fitted_settings(([0.9, 0.95, 0.99], "a/long/name.txt"), 12) == ["0.9, 0.95, …", "a/lo…ame.txt"]


async def test_settings_of_many_runs_are_whole_numbers(tmp_path: Path) -> None:
    rates = [1e-4 * 1.3**number for number in range(12)]
    texts = [TEXT.replace("lr: 3e-3", f"lr: {rate}") for rate in rates]
    runs = [make_run(tmp_path / "runs" / f"run-{place}", text) for place, text in enumerate(texts)]
    app = host(tmp_path, [run.path for run in runs])
    async with app.run_test(size=(160, 48)) as pilot:
        await read(pilot, app, *(run.path.name for run in runs))
        (line,) = (line for line in frame(app) if "optim.lr" in line)
        shown = line.split("optim.lr")[1].strip(" │").split()
        assert "…" not in line
        assert [float(one) for one in shown] == pytest.approx(rates[: len(shown)], rel=1e-3)


async def test_a_run_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs", 5)
    runs[1].metrics.unlink()
    runs[1].metrics.mkdir()
    app = host(tmp_path, [run.path for run in runs])
    async with app.run_test(size=(120, 40)) as pilot:
        await read(pilot, app, "run-00", "run-02", "run-03", "run-04")
        seen = " ".join("\n".join(frame(app)).split())
        assert f"run-01 is left out: {runs[1].metrics} cannot be read: Is a directory" in seen
        # The next baseline is one that can be read, and the other one is still named.
        await pilot.press("b")
        await until(pilot, lambda: screen_of(app).is_ready and charts_of(app)[0].series[0].name == "run-02")
        # Runs that go away while they are compared take their numbers along.
        for run in (runs[2], runs[3], runs[4]):
            shutil.rmtree(run.path)
        await read(pilot, app, "run-00")
        seen = "\n".join(frame(app))
        assert "run-02 is left out: there is no run directory" in seen
        assert "+2 more are left out" in seen
        shutil.rmtree(runs[0].path)
        await until(pilot, lambda: "no run is left to compare" in "\n".join(frame(app)))
        assert not charts_of(app)[0].series
        assert "last train loss" not in "\n".join(frame(app))


def test_a_run_that_is_mended_is_compared_again(tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs", 2)
    kept = runs[1].config_resolved.read_text()
    runs[1].config_resolved.write_text("{")
    feed = ComparisonFeed([run.path for run in runs], lambda _: None)
    (found,) = feed.look()
    assert found.comparison is not None
    assert [run.name for run in found.comparison.runs] == ["run-00"]
    (said,) = found.left_out
    assert said.startswith("run-01 is left out: ")
    assert list(feed.look()) == []
    runs[1].config_resolved.write_text(kept)
    (found,) = feed.look()
    assert found.comparison is not None
    assert len(found.comparison.runs) == 2
    assert found.left_out == ()


def heads(app: Host) -> list[str]:
    """The headings of the runs' columns."""
    (line,) = (line for line in frame(app) if " ● run-" in line and "│" in line and "loss" not in line)
    return re.findall(r"\S+ run-\d\d", line)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_more_runs_than_columns_are_scrolled_and_counted(size: tuple[int, int], tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs", 20)
    # The best one is the eighteenth.
    better = make_run(tmp_path / "other" / "run-17", shift=-0.5)
    shutil.rmtree(runs[17].path)
    shutil.move(better.path, runs[17].path)
    app = host(tmp_path, [run.path for run in runs])
    async with app.run_test(size=size) as pilot:
        await read(pilot, app, *(run.path.name for run in runs))
        first = heads(app)
        assert first[:3] == ["● run-00", first[1], "■ run-01"]
        assert first[1].endswith(" run-17")
        more = f"+{20 - len(first)} more, ← →"
        assert more in "\n".join(frame(app))
        await pilot.press("right")
        await until(pilot, lambda: heads(app) == [first[0], *first[2:], heads(app)[-1]])
        assert more in "\n".join(frame(app))
        # Every run can be reached; no two have the same sign.
        seen = set(first)
        for _ in range(20):
            await pilot.press("right")
            await pilot.pause()
            seen |= set(heads(app))
        assert {one.split()[1] for one in seen} == {run.path.name for run in runs}
        assert len({one.split()[0] for one in seen}) == 20
        assert heads(app)[-1].endswith(" run-19")
        await pilot.press("home")
        await until(pilot, lambda: heads(app) == first)
        await pilot.press("end")
        await until(pilot, lambda: heads(app)[-1].endswith(" run-19"))
        assert heads(app)[0] == "● run-00", "the baseline stays"
        # Above the chart: the best ones by name, with their signs, and how many others there are.
        heading = "".join(charts_of(app)[0].as_text().splitlines()[:4])
        named = re.findall(r"\S+ run-\d\d", heading)
        if size[0] == 80:
            assert named[:3] == [first[1], "● run-00", "■ run-01"]
            assert f"+{20 - len(named)} more" in heading
        else:
            assert len(named) == 20
        await pilot.resize_terminal(300, 60)
        await until(pilot, lambda: "more, ←" not in "\n".join(frame(app)) and len(heads(app)) == 20)


async def test_rows_are_reached_where_all_columns_are_shown(tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs", 2)
    app = host(tmp_path, [run.path for run in runs])
    async with app.run_test(size=(120, 40)) as pilot:
        await read(pilot, app, "run-00", "run-01")
        table = app.screen.query_one(CompareTable)
        await pilot.press("end")
        assert table.selected == table.keys[-1]
        await pilot.press("home")
        assert table.selected == table.keys[0]
