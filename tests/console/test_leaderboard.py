"""Thirty runs on Home: ranked, filtered, marked, described and compared; written records, no engine."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from chomp.config import derive, derived_section, parse_config
from chomp.record.events import Evaluated
from chomp.record.fork import fork_run
from chomp.record.notes import Notes, read_notes, write_notes
from chomp.record.origin import Origin
from chomp.record.rundir import RunDir
from chomp.record.selection import Filter
from chomp.record.status import Status
from chomp.record.summary import BestEval, RunSummary, leaderboard
from chomp_tui.app import ChompApp
from chomp_tui.live.comparison_feed import Compared, ComparisonFeed
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.screens.home.columns_dialog import candidates, turned_over
from chomp_tui.screens.home.notes_dialog import tag_change
from chomp_tui.screens.home.ranking import best_of, ranked
from chomp_tui.screens.home.screen import HomeScreen
from chomp_tui.settings import Settings, load_settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.listing import Listing, fit_columns
from chomp_tui.widgets.run_rows import STANDARD, Place, run_columns, run_row
from tests import fakeruns
from tests.console.hosting import frame, notices, until
from tests.fakeruns import append, ended, make_checkpoint

TEXT = "model: {backend: dummy, model_dim: 16}\ntrain: {steps: 100, seq_len: 32}\noptim: {lr: %g, warmup_steps: 2}\n"
BATCHES = [random.Random(7).gauss(0, 0.2) for _ in range(101)]


def write_rows(run: RunDir, start: int, shift: float, t: float) -> None:
    """Rows to step 100 that depend on the batch, two evaluations, an end."""
    noise = random.Random(run.name)
    rows = [
        fakeruns.row(step, loss=round(3 + shift + BATCHES[step] + noise.gauss(0, 0.01), 5), t=t + step)
        for step in range(start + 1, 101)
    ]
    scored = [Evaluated(step, 3 + shift - step / 1000, 1.0, 1 + shift, 1, 1.0, t=t + step) for step in (75, 100)]
    append(run, fakeruns.started(start or None, total_steps=100, t=t), t=t)
    append(run, *rows, *scored, ended("completed", 100, t=t + 101))


def write_thirty(root: Path) -> Path:
    """Twenty-eight runs of different rates, of which the seventh is best, and two forks of it."""
    now = time.time() - 90_000
    for number in range(28):
        run, text = RunDir(root / f"run-{number:02d}"), TEXT % (1e-4 * (number + 1))
        run.path.mkdir(parents=True)
        config = parse_config(text, source="t").config
        run.config_original.write_text(text)
        run.config_resolved.write_text(json.dumps({**config.model_dump(), "derived": derived_section(derive(config))}))
        write_rows(run, 0, abs(number - 7) / 20, now + number)
        write_notes(run, Notes(tags=("wide",) if number % 2 else ()))
    make_checkpoint(RunDir(root / "run-07"), 50, text=TEXT % 8e-4)
    for name, shift in (("better", -0.05), ("same", 0.001)):
        write_rows(fork_run(RunDir(root / "run-07"), 50, root / name), 50, shift, now + 40)
    return root


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_thirty(tmp_path_factory.mktemp("thirty") / "runs")


def names(listing: Listing) -> list[str]:
    return [Path(key).name for key in listing.keys]


async def start(pilot: Pilot[None], app: ChompApp, count: int) -> Listing:
    home = app.screen_of("home")
    assert isinstance(home, HomeScreen)
    await until(pilot, lambda: home.is_ready and len(home.found.runs) == count and not home.found.unread)
    return home.query_one("#run-list", Listing)


def text_of(app: ChompApp) -> str:
    return "\n".join(frame(app))


async def test_thirty_runs_ranked_and_compared(thirty: Path, tmp_path: Path) -> None:
    settings = Settings(path=tmp_path / "console.yaml")
    app = ChompApp(ConsoleState(settings, runs=thirty, configs=tmp_path / "none"))
    async with app.run_test(size=(80, 24)) as pilot:
        listing = await start(pilot, app, 30)
        # One key: the best run of thirty.
        await pilot.press("s")
        await until(pilot, lambda: names(listing)[:3] == ["better", "run-07", "same"])
        assert listing.selected == str(thirty / "better")
        assert "eval ↑" in text_of(app)
        await pilot.press("S")
        await until(pilot, lambda: names(listing)[0] == "run-27")
        await pilot.press("S", "f")
        await until(pilot, lambda: names(listing)[:3] == ["run-07", "better", "same"])
        assert "└ better #wide" in text_of(app)
        # A filter while one types; what is wrong is said, and the rows stay.
        await pilot.press("slash", *"optim.lr>=8e-4 tag=wide")
        await until(pilot, lambda: names(listing)[:4] == ["run-07", "better", "same", "run-09"])
        assert "13 of 30 runs" in text_of(app)
        await pilot.press(*" rat>1")
        await until(pilot, lambda: "no run has 'rat'" in text_of(app))
        assert names(listing)[0] == "run-07"
        await pilot.press(*["backspace"] * 6, "enter")
        # The second and the third marked, and compared.
        await pilot.press("home", "down", "space", "space", "c")
        screen = app.screen_of("compare")
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: app.screen is screen and "no setting differs" in text_of(app))
        shown = " ".join(text_of(app).split())
        assert "same is higher than better, beyond the noise of the steps: +0.0" in shown
        assert "after step 50: both descend from run-07" in shown
        chart = screen.query_one("#compare-loss", LineChart)
        assert {(line.name, line.slot) for line in chart.series} == {("better", 0), ("same", 1)}
        steps = chart.series[0].x[-1]
        await pilot.press("x")
        await until(pilot, lambda: chart.series[0].x[-1] == steps * 250)
        await pilot.press("e", "d", "b")
        await until(pilot, lambda: "better is lower than same" in " ".join(text_of(app).split()))
        assert not screen.query_one("#compare-loss-panel").display
        await pilot.resize_terminal(160, 48)
        await until(pilot, lambda: screen.query_one("#compare-loss-panel").display)
        assert "★ 2.8500" in text_of(app)
        # A fork alone is compared with its parent; Esc leads back, and then takes the marks away.
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        await pilot.press("escape", "escape", "home", "down", "c")
        await until(pilot, lambda: "better is lower than run-07" in text_of(app))
        # There is nothing beside a run that is no fork.
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        await pilot.press("home", "c")
        await until(pilot, lambda: notices(app) == ["run-07 is no fork; mark two runs or more with Space"])
        assert app.screen is app.screen_of("home")
    kept, wrong = load_settings(tmp_path / "console.yaml")
    assert (kept.home_sort, kept.home_tree, wrong) == ("eval", True, [])


async def test_notes_columns_and_several_runs_at_once(tmp_path: Path) -> None:
    for number in range(4):
        place = tmp_path / "runs" / f"run-{number}"
        place.mkdir(parents=True)
        write_rows(RunDir(place), 0, number / 10, time.time() - 1000)
    settings = Settings(path=tmp_path / "console.yaml")
    app = ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=tmp_path / "none"))
    run = RunDir(tmp_path / "runs" / "run-0")
    async with app.run_test(size=(120, 40)) as pilot:
        listing = await start(pilot, app, 4)
        listing.select(str(run.path))
        await pilot.press("e", *"first [b]", "tab", *"why", "tab", *"base b/2", "enter")
        await until(pilot, lambda: "first" in text_of(app) and "#base #b/2" in text_of(app))
        assert read_notes(run) == Notes("first [b]", "why", ("base", "b/2"))
        await pilot.press("e", "tab", "tab", "end", *" x,y%", "enter")
        await until(pilot, lambda: "the tag 'y%' is not allowed" in text_of(app))
        await pilot.press("escape", "k", *"tokens_per", "space", "enter")
        await until(pilot, lambda: "250.5" in text_of(app))
        assert load_settings(tmp_path / "console.yaml")[0].home_columns == turned_over(STANDARD, "tokens_per_sec")
        # All marked but one: tagged, and deleted at once.
        await pilot.press("a", "home", "space", "t", *"old -base", "enter")
        places = list((tmp_path / "runs").iterdir())
        await until(pilot, lambda: sum("old" in read_notes(RunDir(one)).tags for one in places) == 3)
        await pilot.press("d")
        await until(pilot, lambda: "Delete 3 runs?" in text_of(app))
        assert "hides" not in text_of(app)
        # Those that a filter hides are marked still, and the question says so.
        await pilot.press("escape", "slash", *"run-0", "enter")
        await until(pilot, lambda: "1 of 4 runs" in text_of(app))
        assert "4 runs, 0 live, 3 marked" in text_of(app)
        await pilot.press("d")
        await until(pilot, lambda: "Delete 3 runs?" in text_of(app))
        assert re.search("The filter hides [23] of them.", text_of(app))
        await pilot.press("y")
        await until(pilot, lambda: len(list((tmp_path / "runs").iterdir())) == 1)
        await pilot.press("slash", "escape")
        await until(pilot, lambda: len(listing.keys) == 1)
        assert len(list((tmp_path / "runs").iterdir())) == 1
        # Nothing is named that is not there.
        assert not app.screen_of("home").query_one("#home-configs").display
        assert app.screen_of("home").query_one(Input).value == ""


async def test_notes_that_cannot_be_read_are_shown_and_kept(tmp_path: Path) -> None:
    for number in range(2):
        place = tmp_path / "runs" / f"run-{number}"
        place.mkdir(parents=True)
        write_rows(RunDir(place), 0, number / 10, time.time() - 1000)
    run = RunDir(tmp_path / "runs" / "run-0")
    write_notes(run, Notes(tags=("first",)))
    app = ChompApp(
        ConsoleState(Settings(path=tmp_path / "console.yaml"), runs=tmp_path / "runs", configs=tmp_path / "none")
    )
    async with app.run_test(size=(120, 40)) as pilot:
        listing = await start(pilot, app, 2)
        await until(pilot, lambda: "#first" in text_of(app))
        listing.select(str(run.path))
        # In place, as an editor may: the directory itself does not change.
        text = "name: best run\nnote: keep this: it is the paper run\ntags: [paper]\n"
        run.notes.write_text(text)
        await until(pilot, lambda: "notes unreadable" in text_of(app))
        assert "line 2 needs quotes" in " ".join(text_of(app).split())
        await pilot.press("e", "t")
        await until(pilot, lambda: notices(app) != [])
        assert all(f"{run.notes} cannot be read and was not changed: line 2 needs" in one for one in notices(app))
        assert app.screen is app.screen_of("home")
        assert run.notes.read_text() == text


# Without a screen --------------------------------------------------------------------------


def summary(name: str, loss: float | None = None, parent: str = "") -> RunSummary:
    origin = Origin(parent, f"/elsewhere/{parent}", 1, "d", 1.0) if parent else None
    best = None if loss is None else BestEval(1, loss)
    return RunSummary(name, Path("runs") / name, Status("completed", "✓", "good"), best=best, origin=origin)


def test_the_tree_of_forks() -> None:
    runs = [summary("c", 3, "b"), summary("b", 2, "a"), summary("a", 4), summary("d", 1), summary("e", None, "gone")]
    runs += [summary("x", 5, "y"), summary("y", 6, "x")]
    found = ranked(runs, Filter(), sort="eval", tree=True)
    assert [(one.run.name, one.depth) for one in found] == [
        ("d", 0), ("a", 0), ("b", 1), ("c", 2), ("e", 0), ("x", 0), ("y", 0),
    ]  # fmt: skip
    assert ranked(runs, Filter(), reverse=True)[0].run.name == "y"
    assert best_of(found) is runs[3]
    assert best_of(ranked([summary("a", 1), summary("b", 1)], Filter())) is None


def test_the_moving_average_of_a_run_is_a_row_below_it_and_may_be_the_best() -> None:
    rows = list(leaderboard([summary("a", 4), replace(summary("b", 2), ema=BestEval(80, 1.5), ema_loss=1.6)]))
    found = ranked(rows, Filter(), sort="eval", tree=True)
    assert [(one.run.name, one.depth) for one in found] == [("b", 0), ("b · ema", 1), ("a", 0)]
    best = best_of(found)
    assert best is not None
    assert (best.name, best.path, best.eval_loss) == ("b · ema", rows[1].path, 1.6)
    assert len({row.key for row in rows}) == 3


@pytest.mark.parametrize("added", [(), ("optim.lr",), ("optim.lr", "model.model_dim", "grad_norm")])
def test_evaluations_have_room_at_every_width(added: tuple[str, ...]) -> None:
    keys = STANDARD
    for key in added:
        keys = turned_over(keys, key)
    for width in range(40, 260):
        shown = [column.key for column, _ in fit_columns(run_columns(keys), width, {"name": 60})]
        assert {"name", "eval"} <= set(shown), width
    wide = [column.key for column, _ in fit_columns(run_columns(keys), 74, {"name": 60})]
    assert {"state", "bpb", *added[:1]} <= set(wide), "at 80 cells"
    assert turned_over(turned_over(STANDARD, "optim.lr"), "optim.lr") == STANDARD


def test_candidates_and_cells() -> None:
    runs = [summary("a"), summary("b")]
    for run, lr in zip(runs, (1e-3, 1e-4), strict=True):
        object.__setattr__(run, "settings", {"optim.name": "adamw", "optim.lr": lr})
    found = dict(candidates(runs, ()))
    assert (found["optim.lr"], found["optim.name"], found["eval"]) == ("differs here", "setting", "chosen")
    row = run_row(runs[0], ("name", "eval", "optim.lr", "nothing"), Place(depth=2, is_marked=True), 0.0)
    assert "".join(text for text, _ in row.cells["name"]) == "  └ ◆ a"
    assert [row.cells[key][0][0] for key in ("optim.lr", "nothing", "eval")] == ["0.001", "-", "-"]


def test_tags_are_added_and_removed() -> None:
    change = tag_change("base, +x -old")
    assert (change.add_tags, change.remove_tags) == (("base", "x"), ("old",))


def test_a_comparison_is_read_again_only_when_a_run_has_changed(thirty: Path) -> None:
    seen: list[Compared] = []
    note: Callable[[Compared], None] = seen.append
    feed = ComparisonFeed([thirty / "run-00", thirty / "run-01"], note)
    first = list(feed.look())
    assert [one.comparison is not None for one in first] == [True]
    assert list(feed.look()) == []
    append(RunDir(thirty / "run-01"), fakeruns.row(101), t=time.time())
    assert len(list(feed.look())) == 1
    (alone,) = ComparisonFeed([thirty / "run-00"], note).look()
    assert alone.problem is not None
    assert alone.problem.startswith("run-00 is no fork of a run that is there; mark two runs or more")
