"""The run view: every layout, every key, every state, and texts that would like to be more than text."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from textual._compositor import ChopsUpdate
from textual.actions import parse
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from chomp.record.codec import encode
from chomp.record.events import (
    Checkpoint,
    Evaluated,
    Phase,
    RunEnded,
    Sampled,
    SetEvaluated,
    Spike,
    Step,
    TaskEvaluated,
)
from chomp.record.fold import fold
from chomp.record.origin import Origin, write_origin
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Status
from chomp_tui import keys
from chomp_tui import settings as settings_module
from chomp_tui.live.launched import Launched, status_with
from chomp_tui.screens.run import following
from chomp_tui.screens.run.charts import SmoothedLoss
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard import Dashboard
from chomp_tui.screens.run.dashboard_layout import EXTRA, GROUPS, TITLES, plan
from chomp_tui.screens.run.following import Cores, RunFollower
from chomp_tui.screens.run.log_lines import rows_of, wrapped
from chomp_tui.screens.run.log_view import MOST_LINES, LogPanel, LogView
from chomp_tui.screens.run.screen import RunScreen
from chomp_tui.screens.run.tab_strip import TabStrip
from chomp_tui.settings import Settings, load_settings
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.listing import Listing
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.samples import SamplesPanel
from tests.console.hosting import SIZES, Host, console_state, frame, paints, until
from tests.fakeruns import HOSTILE, FakeRun, append, fake_events, write_run

# Every size and key of a whole screen, in hundreds of frames.

SMALL = FakeRun(steps=300, total=1_000, row_seconds=0.5)
LIVE = FakeRun(steps=300, total=1_000, row_seconds=0.5, live=True)


class RunHost(Host):
    """A host whose only screen is the run view."""

    def action_show_screen(self, mode: str) -> None:
        self.asked.append(("screen", mode))


def host(tmp_path: Path, run: Path | None = None, *, read_only: bool = False) -> Host:
    """The run screen alone; it shows `run` from the start."""
    state = console_state(tmp_path / "runs", tmp_path / "configs", read_only=read_only)
    state.settings = Settings(path=tmp_path / "console.yaml")  # type: ignore[attr-defined]
    screen = RunScreen()
    if run is not None:
        screen.show_run(run)
    return RunHost(screen, state)


def screen_of(app: Host) -> RunScreen:
    assert isinstance(app.held, RunScreen)
    return app.held


def text(app: Host) -> str:
    return "\n".join(frame(app))


def drawn(app: Host, panel: Widget) -> list[str]:
    """The lines of one panel, as they stand on the screen."""
    region = panel.region
    return [line[region.x : region.right] for line in frame(app)[region.y : region.bottom]]


async def shows(pilot: Pilot[Any], *wanted: str) -> None:
    """Wait until all of `wanted` stand on the screen."""
    app = pilot.app
    assert isinstance(app, Host)
    await until(pilot, lambda: all(one in text(app) for one in wanted))


async def still(pilot: Pilot[Any], seconds: float = 0.2) -> None:
    """Wait until all is drawn and the screen stays as it is for three times `seconds`."""
    before, same = [""], 0
    while same < 3 or screen_of(pilot.app).charts.stale:
        await pilot.pause(seconds)
        now = frame(pilot.app)
        before, same = now, same + 1 if now == before else 0


# Layouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 20, 60, 80, 99, 100, 120, 149, 150, 200, 400])
@pytest.mark.parametrize("height", [1, 4, 10, 19, 33, 44, 60, 120])
def test_panels_lie_within_the_board_and_never_on_each_other(width: int, height: int) -> None:
    for chosen in TITLES:
        for extra in ((), EXTRA):
            _check(width, height, chosen, extra)


def _check(width: int, height: int, chosen: str, extra: tuple[str, ...]) -> None:
    regions = list(plan(width, height, chosen=chosen, extra=extra).regions.items())
    for place, (name, region) in enumerate(regions):
        assert region in Region(0, 0, width, height), name
        for other, second in regions[place + 1 :]:
            assert not region.overlaps(second), (name, other)


@pytest.mark.parametrize(("width", "height"), [(80, 19), (120, 35), (200, 55)])
def test_every_panel_can_be_reached_in_every_layout(width: int, height: int) -> None:
    for name in TITLES:
        regions = plan(width, height, chosen=name, extra=EXTRA).regions
        assert GROUPS.get(name, (name,))[0] in regions


@pytest.mark.parametrize("size", SIZES)
async def test_a_finished_run_is_shown(size: tuple[int, int], tmp_path: Path) -> None:
    run = write_run(tmp_path / "finished", FakeRun(steps=400, total=400, ending="completed", reason="all steps done"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=size) as pilot:
        await shows(
            pilot, "✓ completed", "finished", "400/400", "100.0%", "all steps done", "smoothed 30 steps", "eval"
        )
        assert all(len(line) <= size[0] for line in frame(app))


async def test_the_small_layout_has_chart_and_one_panel(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "live", LIVE).path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training", "300/1,000", "ETA", "last record", "tokens/s", "gradient norm", "learning rate")
        for title in ("Samples", "Log", "Checkpoints", "Memory", "Time", "Facts"):
            await pilot.press("n")
            await until(pilot, lambda title=title: screen_of(app).query_one(Dashboard).plan.chosen == title.lower())
        await shows(pilot, "path", "device", "NVIDIA GeForce RTX 5090")
        await pilot.press("N")
        await shows(pilot, "training", "compiling", "41s")


async def test_the_wide_layout_has_everything(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "live", LIVE).path)
    async with app.run_test(size=(200, 60)) as pilot:
        await shows(
            pilot, "loss", "tokens/s", "gradient norm", "learning rate", "memory GiB", "Samples", "Log", "Time",
            "Memory", "Checkpoints", "bits per byte", "MFU", "packing", "tokens seen", "NVIDIA GeForce RTX 5090",
        )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_without_colour_the_state_is_still_a_word_and_a_glyph(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = write_run(tmp_path / "crashed", FakeRun(steps=200, ending="crashed", reason="out of memory"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "✗ crashed", "out of memory")
        assert app.no_color


# States ------------------------------------------------------------------------------------


async def test_states_in_words_with_their_reason(tmp_path: Path) -> None:
    """tests/console/test_status.py has all words; here each is drawn, and `live` names the runs that live."""
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        for phase, word in (
            ("data", "reading data"), ("compile", "compiling"), ("train", "training"), ("eval", "evaluating"),
            ("train", "training"), ("sample", "sampling"), ("train", "training"), ("save", "saving"),
            ("paused", "paused"),
        ):  # fmt: skip
            append(run, Phase(phase, 300))  # type: ignore[arg-type]
            await shows(pilot, word, "300/1,000")
            assert app.state.live[run.path] > 0
        for status, word in (
            ("completed", "completed"), ("stopped", "stopped"), ("data_exhausted", "out of text"),
            ("crashed", "crashed"),
        ):  # fmt: skip
            ended = write_run(tmp_path / status, FakeRun(steps=200, ending=status, reason=f"for {status} reasons"))
            screen_of(app).show_run(ended.path)
            await shows(pilot, word, f"for {status} reasons", "ended")
            assert ended.path not in app.state.live
        killed = write_run(tmp_path / "killed", SMALL)
        append(killed, Checkpoint("saving", 310))
        screen_of(app).show_run(killed.path)
        await shows(pilot, "✗ crashed", "the engine ended without")
        assert "saving …" not in " ".join(frame(app))


async def test_where_there_is_no_curve_a_notice_says_why_and_what_to_do(tmp_path: Path) -> None:
    app = host(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "No run selected", "1 shows the runs")
        for key in "pcegSyxs+-0bnN/or":
            await pilot.press(key)
            await pilot.press("escape")
        assert "no run selected" in app.told
        screen_of(app).show_run(tmp_path / "nothing")
        await shows(pilot, "This run cannot be shown", "there is no run directory at")

        refused = RunDir(tmp_path / "refused")
        refused.path.mkdir()
        reason = "data.files: nothing matches /corpus/*.txt"
        refused.events.write_bytes(
            encode(Phase("data", 0), 1.0) + encode(RunEnded("crashed", reason, 0, 3, {"startup": 1.0}), 2.0)
        )
        refused.log.write_text("chomp: error: nothing matches\n")
        screen_of(app).show_run(refused.path)
        await shows(pilot, "Could not start", reason, "chomp: error: nothing matches", "panel Log")

        # An engine that died before its first event: the end of its log is shown. No process can have this pid.
        broken = RunDir(tmp_path / "broken")
        broken.path.mkdir()
        broken.log.write_text("starting\nImportError: libcuda.so.1: cannot open state object file\n")
        app.state.live[broken.path] = 2**22 + 1
        screen_of(app).show_run(broken.path)
        await shows(pilot, "failed to start", "ImportError: libcuda.so.1")
        await until(pilot, lambda: broken.path not in app.state.live)
        screen_of(app).query_one(Dashboard).arrange_for(chosen="log")
        await until(pilot, lambda: "starting" in screen_of(app).query_one(LogView).text)

        gone = write_run(tmp_path / "gone", SMALL)
        screen_of(app).show_run(gone.path)
        await shows(pilot, "300/1,000")
        shutil.rmtree(gone.path)
        await until(pilot, lambda: "300/1,000" not in text(app) or "no run directory" in text(app))


@pytest.mark.parametrize("size", [(120, 40), (120, 48), (160, 48)])
async def test_memory_of_a_silent_device_is_a_dash_and_leaves_room_for_the_disk(
    size: tuple[int, int], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "cpu", FakeRun(steps=300, device_memory=False, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "not reported by this device", "host", *(["disk", "GiB free"] if size[1] > 40 else []))
        line = next(line for line in frame(app) if "in use" in line)
        assert "–" in line
        assert "0.00" not in line


@pytest.mark.parametrize("size", SIZES)
async def test_a_read_only_console_says_so_at_the_top(size: tuple[int, int], tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    for read_only in (True, False):
        app = host(tmp_path, run.path, read_only=read_only)
        async with app.run_test(size=size) as pilot:
            await shows(pilot, "training")
            assert ("read-only" in frame(app)[0]) is read_only


async def test_a_fork_names_its_origin_and_whether_its_time_includes_the_origins(tmp_path: Path) -> None:
    origin = Origin("parent", "/runs/parent", 1_200, "0" * 64, 1.0)
    app = host(tmp_path)
    async with app.run_test(size=(160, 48)) as pilot:
        for name, fork, ending in (("ended", True, "stopped"), ("live", True, None), ("no-fork", False, "stopped")):
            run = write_run(tmp_path / name, FakeRun(steps=200, ending=ending, live=ending is None))
            if fork:
                write_origin(run, origin)
            screen_of(app).show_run(run.path)
            await shows(pilot, name, "training   ━")
            await until(pilot, lambda fork=fork: ("fork of parent at step 1,200" in text(app)) is fork)
            assert ("includes parent up to step 1,200" in text(app)) is (name == "ended"), name


def test_status_of_an_engine_without_a_lock() -> None:
    made = Status("not started", "…", "idle", "no engine has written here yet")
    alive = status_with(made, RunView(), Launched(1, 10.0), ())
    assert (alive.word, alive.is_live) == ("starting", False)
    dead = status_with(made, RunView(), Launched(1, 10.0, died=True), ("why", "  ", ""))
    assert (dead.word, dead.reason) == ("failed to start", "why")
    spoken = fold(RunView(), [Phase("data", 0, t=11.0)])
    assert status_with(made, spoken, Launched(1, 10.0, died=True), ()) is made


# Following ---------------------------------------------------------------------------------


async def test_new_events_appear(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "300/1,000")
        append(run, Step({"step": 310, "loss": 1.25, "tokens_per_sec": 10.0, "step_time_s": 1.0, "tokens_seen": 1}))
        append(run, Evaluated(310, 1.1875, 3.3, 0.4375, 10, 0.1))
        await shows(pilot, "310/1,000", "1.1875", "0.4375")
        append(run, RunEnded("stopped", "stop requested", 310, 0, {"train": 5.0}))
        run.lock.write_text("")
        await shows(pilot, "■ stopped", "stop requested")
        await until(pilot, lambda: run.path not in app.state.live)


async def test_another_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", FakeRun(steps=200, ending="stopped"))
    second = write_run(tmp_path / "second", FakeRun(steps=400, ending="completed", reason="all steps done"))
    app = host(tmp_path, first.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "first", "200/10,000")
        stale = RunFollower.Updated(screen_of(app).follower.token, screen_of(app).follower.update)  # type: ignore[arg-type]
        screen_of(app).show_run(second.path)
        await shows(pilot, "second", "400/10,000", "completed")
        screen_of(app).post_message(stale)
        await pilot.pause()
        assert "first" not in text(app)
        screen_of(app).show_run(second.path)
        await shows(pilot, "second", "400/10,000")


COPIED = {
    "finished": FakeRun(steps=600, total=600, ending="completed", reason="all 600 steps done"),
    "crashed": FakeRun(steps=300, ending="crashed", reason="step 300: the loss is nan", nonfinite_at=(30,)),
    "killed": FakeRun(steps=300),
}


# A word that each panel has once it is filled; None is the whole board.
FILLED = {
    None: "gradient norm", "log": "INFO", "checkpoints": "saved in", "samples": "Yield the lines",
    "facts": "XLA_FLAGS", "alerts": "read failed twice, then went on", "time": "training   ━",
}  # fmt: skip


async def panels(pilot: Pilot[Any], seconds: float) -> list[str]:
    """The frames of the board and of each panel alone, once it is filled and still."""
    board, frames = screen_of(pilot.app).query_one(Dashboard), []
    for panel, word in FILLED.items():
        board.arrange_for(zoomed=panel)
        await shows(pilot, word)
        await still(pilot, seconds)
        frames.append(text(pilot.app))
    board.arrange_for(zoomed=None)
    return frames


@pytest.mark.parametrize("name", COPIED)
async def test_a_copied_run_looks_like_the_original(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All panels show the same, except for the path; a copy's files are newer than what they tell of."""
    first = write_run(tmp_path / "here" / "one", COPIED[name], now=1e9)
    if name == "killed":
        holder = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": 1e9 - 900, "locked_at": 1e9 - 900}
        first.lock.write_text(json.dumps(holder))
    for path in first.path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    second = tmp_path / "away" / "one"
    second.parent.mkdir()
    subprocess.run(["cp", "-r", str(first.path), str(second)], check=True)
    # How long ago it was is the same too.
    monkeypatch.setattr("chomp_tui.screens.run.screen.time.time", lambda: 1e9 + 86_400)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("chomp_tui.live.feed.shutil.disk_usage", lambda _: usage)
    app = host(tmp_path)
    async with app.run_test(size=(160, 48)) as pilot:
        # On a busy machine a look may be too hasty: the second is patient.
        for seconds in (0.02, 0.2):
            seen = []
            for path in (first.path, second):
                screen_of(app).show_run(path)
                await shows(pilot, f"{path.parent.name}/one", f"{COPIED[name].steps}/", "smoothed 30 steps")
                seen.append([one.replace(str(path.parent), "") for one in await panels(pilot, seconds)])
            if seen[0] == seen[1]:
                break
        for before, after in zip(*seen, strict=True):
            assert before.splitlines() == after.splitlines()
        assert len(set(seen[0])) == len(seen[0]), "each panel had its turn"
        assert ("✓ completed" if name == "finished" else "✗ crashed") in seen[0][0]


async def test_nothing_is_drawn_while_another_screen_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "300/1,000")
        drawn: list[object] = []
        # As it is in another mode.
        monkeypatch.setattr(RunScreen, "is_current", property(lambda self: False))
        monkeypatch.setattr(RunScreen, "_draw", lambda self, snapshot: drawn.append(snapshot))
        append(run, Evaluated(310, 1.1875, 3.3, 0.4375, 10, 0.1))
        await until(pilot, lambda: (update := screen_of(app).follower.update) is not None and update.view.step == 310)
        assert drawn == []
        monkeypatch.undo()
        await shows(pilot, "310/1,000")


async def test_a_tick_without_news_changes_no_widget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=300, ending="stopped"), now=1e9).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "300/10,000", "Checkpoints")
        screen = screen_of(app)
        # Of a run that has ended there is no age, which would be another one at each look.
        now = [1e9 + 5]
        monkeypatch.setattr("chomp_tui.screens.run.screen.time.time", lambda: now[0])
        screen.redraw()
        await pilot.pause()
        now[0] += 70
        refreshed: list[object] = []
        for widget in screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *a, w=widget, **k: refreshed.append(w) or w)
        screen.redraw()
        assert refreshed == []


def test_the_smoothed_loss_costs_only_new_rows_and_survives_a_cut() -> None:
    view = fold(RunView(), fake_events(FakeRun(steps=500)))
    smoothed, whole = SmoothedLoss(), SmoothedLoss().of(view.rows, 0.9)
    part = smoothed.of(view.rows.cut(200), 0.9)
    assert len(part) == 20
    assert smoothed.of(view.rows, 0.9) == pytest.approx(whole)
    assert smoothed.of(view.rows.cut(100), 0.9) == pytest.approx(whole[:10])
    assert len(smoothed.of(RunView().rows, 0.9)) == 0
    assert smoothed.of(view.rows, 0.0) == pytest.approx(view.rows["loss"])


# Numbers that are none ---------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_losses_that_are_not_finite(size: tuple[int, int], tmp_path: Path) -> None:
    fake = FakeRun(steps=200, nonfinite_at=tuple(range(1, 21)), live=True)
    app = host(tmp_path, write_run(tmp_path / "nan", fake).path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "training", "200/10,000")
        await pilot.press("y", "x", "s", "plus", "minus", "b")
        await shows(pilot, "–")


@pytest.mark.parametrize("size", SIZES)
async def test_no_rows_at_all(size: tuple[int, int], tmp_path: Path) -> None:
    run = write_run(tmp_path / "empty", FakeRun(steps=0, live=True))
    app = host(tmp_path, run.path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "waiting for the first record", "0/10,000")
        for name in TITLES:
            await pilot.press("n")
            assert name
        await pilot.press("enter", "y", "x", "plus", "left", "escape")
        await shows(pilot, "waiting for the first record")


@pytest.mark.parametrize(("size", "turns"), [((80, 24), 1), ((160, 48), 0)])
async def test_terms_of_the_objective_have_a_chart(size: tuple[int, int], turns: int, tmp_path: Path) -> None:
    # The newest row has no finite numbers: the chart stays where it is.
    fake = FakeRun(steps=300, total=1_000, live=True, terms=("z_loss", "mtp_loss_1", "mtp_loss_2"), nonfinite_at=(30,))
    app = host(tmp_path, write_run(tmp_path / "terms", fake).path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "training", "Terms")
        for _ in range(turns):
            await pilot.press("n")
        await shows(pilot, "terms", "z ", "mtp 1 ", "mtp 2 ")
        screen_of(app).set_focus(screen_of(app).query_one("#terms", LineChart))
        await pilot.press("enter", "y")
        await until(pilot, lambda: screen_of(app).query_one(Dashboard).zoomed == "terms")
        await shows(pilot, "mtp 2 ")
        assert {screen_of(app).query_one(f"#{name}", LineChart).log_y for name in ("loss", "terms")} == {True}


async def test_sources_of_a_mixture_have_charts_and_no_terms(tmp_path: Path) -> None:
    numbers = tuple(f"{kind}/{name}" for kind in ("loss", "tokens", "epochs") for name in ("web", "[red]x"))
    app = host(tmp_path, write_run(tmp_path / "mixed", FakeRun(steps=300, total=1_000, live=True, terms=numbers)).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "training", "Sources")
        board = screen_of(app).query_one(Dashboard)
        assert "terms" not in board.plan.tabs
        board.turn_to("sources")
        await shows(pilot, "loss by source", "tokens by source", "epochs by source", "web", "[red]x")


async def test_only_a_run_with_further_terms_or_metrics_has_a_chart_for_them(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "plain", LIVE).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "training", "300/1,000", "Samples")
        board = screen_of(app).query_one(Dashboard)
        assert "terms" not in board.plan.tabs
        board.arrange_for(zoomed="terms")
        await shows(pilot, "training", "Samples")
        assert "Terms" not in text(app)
        run = write_run(tmp_path / "mine", FakeRun(steps=300, total=1_000, live=True))
        append(run, *(Step({"step": step, "loss": 2.0, "my_metric": 1.5}) for step in (310, 320)))
        screen_of(app).show_run(run.path)
        await shows(pilot, "training", "Terms", "my metric ")
        assert screen_of(app).query_one("#terms", LineChart).display


async def test_evaluation_sets_and_tasks_have_charts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "scored", LIVE)
    scores = {"eval_loss/wiki": 3.25, "eval_bpb/wiki": 1.0, "task_accuracy/arc": 0.25, "task_bpb/arc": 1.5}
    scores |= {"eval_ema_loss/wiki": 3.125, "task_ema_accuracy/arc": 0.75}
    append(
        run, *(Step({"step": step, "loss": 2.0, **(scores if step % 20 == 0 else {})}) for step in range(305, 345, 5))
    )
    append(run, SetEvaluated("wiki", 340, 3.25, 25.8, 1.0, 5, 1.0))
    append(
        run, *(TaskEvaluated(f"a-task-whose-name-is-long-{n}", 340, 0.25, None, 1.5, 0, 8, 0, 1.0) for n in range(7))
    )
    app = host(tmp_path, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "wiki               3.2500  at step 340", "a-task-whose-name-… 25.0%", "and 2 more")
        await shows(pilot, "340/1,000", "Sets", "Tasks", "Task bits", "wiki ")
        board = screen_of(app).query_one(Dashboard)
        assert "terms" not in board.plan.tabs, "each number has a chart"
        for name, line in (("sets", "wiki of ema "), ("tasks", "arc of ema "), ("taskbits", "arc ")):
            board.turn_to(name)
            await until(pilot, lambda name=name: screen_of(app).query_one(f"#{name}", LineChart).display)
            await shows(pilot, line)


async def test_memory_in_use_peak_limit_and_the_host_s_are_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    memory = {"device_memory_gb": 24.0, "peak_memory_gb": 27.2, "device_memory_limit_gb": 32.0, "host_memory_gb": 5.5}
    append(run, Step({"step": 310, "loss": 2.0, **memory}))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "310/1,000")
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="memory")
        await shows(pilot, "in use", "peak")
        rows = {line.strip("│ ").split("  ")[0]: line for line in frame(app)}
        assert "24.0 GiB" in rows["in use"]
        assert "75%" in rows["in use"]
        assert "27.2 GiB" in rows["peak"]
        assert "85%" in rows["peak"]
        assert rows["in use"].count("━") < rows["peak"].count("━")
        assert "32.0 GiB" in rows["limit"]
        assert "5.5 GiB" in rows["host"]
        assert "18.4 GiB" in rows["step"]
        assert " free" in rows["disk"]


# Alerts ------------------------------------------------------------------------------------


def _spike(run: RunDir) -> None:
    append(run, Spike(300, 20.0, 1.0, "warn", "step 300: the loss is 20"))


def _failed_save(run: RunDir) -> None:
    append(run, Checkpoint("saving", 310), Checkpoint("failed", 310, reason="Input/output error"))


def _gone(run: RunDir) -> None:
    run.lock.write_text("")


async def test_alerts_are_listed_above_the_engines_warnings(tmp_path: Path) -> None:
    """tests/console/test_alerts.py has all alerts; here some are drawn."""
    quiet = write_run(tmp_path / "quiet", FakeRun(steps=0, ending="completed", reason="all steps done"))
    app = host(tmp_path, quiet.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "completed", "all steps done")
        panel, board = screen_of(app).query_one("#alerts"), screen_of(app).query_one(Dashboard)
        board.arrange_for(zoomed="alerts")
        await shows(pilot, "nothing to report")
        for happens, sign, sentence in (
            (_spike, "▲ loss spike", "step 300: the loss is 20"),
            (_failed_save, "✗ save failed", "step 310 could not be saved: Input/output error"),
            (_gone, "✗ gone", "the engine ended without a last event"),
        ):
            run = write_run(tmp_path / happens.__name__, LIVE)
            happens(run)
            screen_of(app).show_run(run.path)
            await shows(pilot, "/1,000")
            board.arrange_for(zoomed="alerts")
            await until(pilot, lambda: panel.size.height > 20)
            await until(
                pilot,
                lambda sign=sign, sentence=sentence: any(
                    sign in line and sentence in line for line in drawn(app, panel)
                ),
            )
            await shows(pilot, "Warnings of the engine: 1", "read failed twice, then went on")


async def test_an_engine_that_stalls_is_in_the_list_of_alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(tmp_path, write_run(tmp_path / "live", LIVE).path)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "● training", "300/1,000")
        later = time.time() + 7_200
        monkeypatch.setattr("chomp_tui.screens.run.screen.time.time", lambda: later)
        panel = screen_of(app).query_one("#alerts")
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="alerts")
        sentence = "the engine runs, but has written no event for 2h"
        await until(pilot, lambda: any("▲ silent" in line and sentence in line for line in drawn(app, panel)))
        await shows(pilot, "? silent")


async def test_a_disk_that_is_nearly_full_is_an_alert_in_the_line_and_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("chomp_tui.live.feed.shutil.disk_usage", lambda _: usage._replace(free=700_000_000))
    app = host(tmp_path, write_run(tmp_path / "live", LIVE).path)
    async with app.run_test(size=(120, 40)) as pilot:
        sentence = "the disk is nearly full: 668 MiB free; a checkpoint takes 1.4 GiB"
        await shows(pilot, "300/1,000")
        await until(pilot, lambda: f"✗ disk: {sentence}" in frame(app)[4])
        panel = screen_of(app).query_one("#alerts")
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="alerts")
        await until(pilot, lambda: any("✗ disk" in line and sentence in line for line in drawn(app, panel)))


# Foreign text ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_is_only_text(size: tuple[int, int], tmp_path: Path) -> None:
    name = "[red]bad[b] \x1b[2J run"
    run = write_run(tmp_path / name, FakeRun(steps=200, hostile=True, ending="crashed", reason=HOSTILE))
    app = host(tmp_path, run.path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "crashed", "[red]bad[b]", "[bold red]not markup[/]")
        for _ in TITLES:
            await pilot.press("n")
            await pilot.pause()
            shown = "".join(frame(app))
            assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char == "\u202e" for char in shown)
        for panel in ("samples", "log", "alerts", "facts"):
            screen_of(app).query_one(Dashboard).arrange_for(zoomed=panel)
            await shows(pilot, "crashed")
        assert app.is_running
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="samples")
        await shows(pilot, "[bold red]not markup[/] [@click=app.quit]x[/]", "wwww")


# Keys --------------------------------------------------------------------------------------


async def test_chart_keys_and_that_choices_are_kept(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    settings: Settings = app.state.settings  # type: ignore[attr-defined]
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        loss = screen_of(app).query_one("#loss", LineChart)
        assert screen_of(app).focused is loss
        await pilot.press("left")
        assert loss.cross == 600
        await pilot.press("left")
        assert loss.cross is not None
        assert loss.cross < 600
        await pilot.press("escape")
        assert loss.cross is None
        await pilot.press("y")
        assert loss.log_y
        assert settings.log_y
        for smoothing in (100, 300, 1000, 0, 10, 30):
            await pilot.press("s")
            assert settings.smoothing == smoothing
            await shows(pilot, f"smoothed {smoothing} steps" if smoothing else "train")
            if not smoothing:
                assert "smoothed" not in text(app)
        for axis in ("tokens", "time", "step"):
            await pilot.press("x")
            assert settings.x_axis == axis
            await until(pilot, lambda axis=axis: any(line.rstrip().endswith(axis) for line in frame(app)))
        await pilot.press("b")
        assert settings.marker == loss.marker == "block"
        assert not any(0x2800 <= ord(char) < 0x2900 for char in text(app))
        await pilot.press("x")
        await pilot.press("plus")
        assert loss.zoomed
        assert screen_of(app).query_one("#speed", LineChart).zoomed
        await pilot.press("minus")
        assert not loss.zoomed
        await pilot.press("plus", "plus", "0")
        assert not loss.zoomed
        speed = screen_of(app).query_one("#speed", LineChart)
        await pilot.press("plus", "plus", "left_square_bracket")
        assert loss.window.end is not None
        assert speed.window == loss.window
        await pilot.press("right_square_bracket", "right_square_bracket", "0")
        assert not loss.zoomed
        await pilot.press("a")
        assert loss.show_all
        assert speed.show_all
        await pilot.press("a")
        assert not loss.show_all
    kept, wrong = load_settings(tmp_path / "console.yaml")
    assert not wrong
    assert (kept.log_y, kept.smoothing, kept.x_axis, kept.marker) == (True, 30, "tokens", "block")


async def test_choices_outlast_a_console_that_is_left_while_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=60, ending="stopped")).path)
    written: list[tuple[bool, str]] = []
    begun = threading.Event()

    def slowly(settings: Settings) -> None:
        begun.set()
        chosen = (settings.log_y, settings.marker)
        time.sleep(0.4)
        written.append(chosen)

    monkeypatch.setattr(settings_module, "save_settings", slowly)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        await pilot.press("y")
        await until(pilot, begun.is_set)
        await pilot.press("b")
    assert written == [(True, "braille"), (True, "block")]


@pytest.mark.parametrize("size", SIZES)
async def test_zoom_and_back(size: tuple[int, int], tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "smoothed 30 steps")
        # The line of alerts may come after the chart, and takes a row of the board.
        await still(pilot)
        board = screen_of(app).query_one(Dashboard)
        before = dict(board.plan.regions)
        await pilot.press("enter")
        await until(pilot, lambda: screen_of(app).query_one("#loss").size.height >= board.size.height - 2)
        assert board.zoomed == "loss"
        await pilot.press("n")
        await until(pilot, lambda: board.zoomed == "speed")
        await pilot.press("enter")
        assert board.zoomed is None
        assert dict(board.plan.regions) == before
        await pilot.press("enter", "escape")
        assert board.zoomed is None
        assert app.screen is app.held


async def test_tab_moves_among_panels(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=(200, 60)) as pilot:
        await shows(pilot, "smoothed 30 steps", "Samples")
        seen = set()
        for _ in range(16):
            panel = screen_of(app).query_one(Dashboard).focused_panel()
            assert panel is not None
            assert panel.display
            seen.add(panel.id)
            await pilot.press("tab")
        assert {"loss", "speed", "grad", "rate", "device", "samples", "log", "checkpoints", "tiles", "time"} <= seen


async def test_enter_on_checkpoints_and_r_open_the_checkpoints_of_an_ended_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        await pilot.press("n", "n", "n")
        await shows(pilot, "saved in", "1.4 GiB", "1.90 s", "No space left")
        await pilot.press("enter")
        assert app.asked == [("checkpoints", run.path)]
        await pilot.press("r")
        assert app.asked == [("checkpoints", run.path)] * 2
        app.asked.clear()
        screen_of(app).show_run(write_run(tmp_path / "short", FakeRun(steps=10, log_every=20, ending="stopped")).path)
        await shows(pilot, "short", "stopped")
        await pilot.press("r")
        assert app.told == ["short has no checkpoint to resume from"]
        screen_of(app).show_run(write_run(tmp_path / "live", LIVE).path)
        await shows(pilot, "● training")
        await pilot.press("r")
        assert "stop it before resuming" in app.told[-1]
        assert app.asked == []


async def test_the_mouse_does_what_these_keys_do(tmp_path: Path) -> None:
    """A click on a tab is `n` until it is there; a double click on a checkpoint of the run is Enter."""
    run = write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        board, strip = screen_of(app).query_one(Dashboard), screen_of(app).query_one(TabStrip)
        for name in board.plan.tabs[::-1]:
            row = frame(app)[strip.region.y]
            await pilot.click(offset=(row.index(f"{TITLES[name]} "), strip.region.y))
            await until(pilot, lambda name=name: board.plan.chosen == name)
            shown = screen_of(app).query_one(f"#{'speed' if name == 'charts' else name}")
            await until(pilot, lambda shown=shown: shown.display and board.focused_panel() is shown)
        board.arrange_for(chosen="checkpoints")
        await shows(pilot, "saved in")
        listing = screen_of(app).query_one(RunCheckpoints).query_one(Listing)
        await pilot.click(listing, offset=(10, 3))
        await pilot.pause()
        assert listing.selected == listing.keys[2]
        assert app.asked == []
        await pilot.click(listing, offset=(10, 3), times=2)
        await until(pilot, lambda: app.asked)
        assert app.asked == [("checkpoints", run.path)]


async def test_the_log_is_filtered_in_place_and_escape_ends_the_filter_before_it_leaves(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        board, log = screen_of(app).query_one(Dashboard), screen_of(app).query_one(LogView)
        panel = screen_of(app).query_one(LogPanel)
        # A log that is not in view takes no key.
        log.filter("ERROR")
        await pilot.press("escape")
        assert app.asked == [("screen", "home")]
        app.asked.clear()
        log.filter("")
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.focused, NameFilter))
        await pilot.press(*"ERROR")
        await until(pilot, lambda: log.display and log.text.count("\n") < 3)
        assert app.screen is app.held, "the log stays in view"
        assert "No space left" in " ".join(log.text.split())
        assert "committed" not in log.text
        assert "Esc shows all" in str(panel.border_subtitle)
        await pilot.press(*["backspace"] * 5)
        await until(pilot, lambda: "committed" in log.text)
        await pilot.press(*"ERROR", "enter")
        await until(pilot, lambda: log.has_focus and "committed" not in log.text)
        await pilot.press("enter")
        await until(pilot, lambda: board.zoomed == "log")
        await pilot.press("escape")
        await until(pilot, lambda: "INFO" in log.text)
        assert (board.zoomed, app.asked) == ("log", [])
        await pilot.press("escape")
        assert (board.zoomed, app.asked) == (None, [])
        await pilot.press("escape")
        assert app.asked == [("screen", "home")]


async def drag(pilot: Pilot[Any], at: tuple[int, int], to: tuple[int, int]) -> str:
    """Select from one place of the screen to another and press Ctrl+C; gives what the terminal is to keep."""
    # Private: the public property cannot be emptied.
    pilot.app._clipboard = ""
    await pilot.mouse_down(offset=at)
    await pilot.hover(offset=to)
    await pilot.mouse_up(offset=to)
    await until(pilot, lambda: pilot.app.screen.get_selected_text())
    await pilot.press("ctrl+c")
    await pilot.pause()
    return pilot.app.clipboard


async def test_what_is_selected_with_the_mouse_is_copied(tmp_path: Path) -> None:
    run = write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        log, board = screen_of(app).query_one(LogView), screen_of(app).query_one(Dashboard)
        board.arrange_for(zoomed="log")
        await until(pilot, lambda: log.size.height > 10 and log.text)
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y > 0)
        await pilot.pause()
        left, top = log.content_region.offset
        copied = await drag(pilot, (left + 11, top + 2), (left + 40, top + 4))
        rows = [line[left:] for line in frame(app)[top + 2 : top + 5]]
        assert copied.split("\n") == [rows[0][11:-2].rstrip(), rows[1][:-2].rstrip(), rows[2][:41]]
        assert "INFO chomp." in copied
        board.arrange_for(zoomed="facts")
        facts = screen_of(app).query_one("#facts")
        await until(pilot, lambda: any("124.44M" in line for line in drawn(app, facts)))
        top, row = next((place, line) for place, line in enumerate(frame(app)) if "124.44M" in line)
        left = row.index("parameters")
        assert await drag(pilot, (left, top), (left + 18, top)) == "parameters  124.44M"


@pytest.mark.parametrize("width", [1, 2, 7, 30, 200])
@pytest.mark.parametrize(
    "line", ["", "   ", "step 370/800  loss 1.6347  lr 1.87e-03", "漢字" * 20, "a\u0301" * 30, "x" * 90]
)
def test_a_wrapped_line_keeps_its_text_and_its_width(line: str, width: int) -> None:
    rows = wrapped(line, width)
    assert rows
    assert "".join("".join(rows).split()) == "".join(line.split())
    assert all(cell_len(row) <= width for row in rows) or (width == 1 and "漢" in line)


def test_a_wrapped_line_leaves_numbers_whole() -> None:
    assert wrapped("step 370/800  loss 1.6347  lr 1.87e-03", 30) == ["step 370/800  loss 1.6347  lr", "  1.87e-03"]


RECORD = (
    "step  370/800  loss 1.6347  grad 0.71  lr 1.87e-03  92,407 tok/s  2.7 ms  eval 1.9921 (0.812 bits/byte)  eta 3s"
)


@pytest.mark.parametrize(
    ("line", "width", "rows"),
    [
        (RECORD, 80, ["step  370/800  loss 1.6347  eval 1.9921 (0.812 bits/byte)"]),
        (RECORD, 40, ["step  370/800  loss 1.6347"]),
        (RECORD, 20, ["step  370/800"]),
        (RECORD, 8, ["step  3…"]),
        (
            "2026-01-02 03:04:05,678 INFO chomp.eval: step 9130: loss 2.2102",
            80,
            ["03:04:05 eval: step 9130: loss 2.2102"],
        ),
        ("2026-01-02 03:04:05 INFO chomp.eval: step 9130: loss 2.2102", 20, ["03:04:05 eval: step…"]),
        ("2026-01-02 03:04:05 ERROR chomp.eval: it failed", 24, ["03:04:05 ERROR", "  chomp.eval: it failed"]),
        ("step by step: loss of time", 80, ["step by step: loss of time"]),
    ],
)
def test_a_line_beside_other_panels_takes_one_row_without_what_they_show(
    line: str, width: int, rows: list[str]
) -> None:
    assert rows_of(line, width, brief=True) == rows
    assert "".join("".join(rows_of(line, width, brief=False)).split()) == "".join(line.split())


def test_a_log_longer_than_is_kept_shows_its_newest_lines() -> None:
    log = LogView(id="log")
    # Private: `show` needs a running application.
    log._append([f"line {number}" for number in range(MOST_LINES + 7)], 80)
    rows = log.text.split("\n")
    assert (len(rows), rows[0], rows[-1]) == (MOST_LINES, "line 7", f"line {MOST_LINES + 6}")


async def test_the_log_follows_its_end_unless_scrolled_away(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("n", "n")
        await shows(pilot, "committed")
        log = screen_of(app).query_one(LogView)
        with run.log.open("a") as file:
            file.write("a new line\n")
        await shows(pilot, "a new line")
        await pilot.press("home")
        await until(pilot, lambda: log.scroll_offset.y == 0)
        with run.log.open("a") as file:
            file.write("another line\n")
        await until(pilot, lambda: "another line" in log.text)
        assert log.scroll_offset.y == 0


async def test_a_log_that_grows_beyond_its_height_is_at_its_end() -> None:
    class Logs(App[None]):
        def compose(self) -> ComposeResult:
            yield LogView(id="log")

    for gutter in ("auto", "stable"):
        Logs.CSS = f"LogView {{ height: 8; overflow-y: auto; overflow-x: hidden; scrollbar-gutter: {gutter}; }}"
        app = Logs()
        async with app.run_test(size=(40, 12)) as pilot:
            log = app.query_one(LogView)
            for count in (3, 40):
                log.add(f"line {number}" for number in range(count))
                log.draw()
                await pilot.pause()
            assert log.scroll_offset.y == log.max_scroll_y == log.vertical_scrollbar.position == 35


# Samples -----------------------------------------------------------------------------------


async def test_samples_by_step_and_prompt(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("n")
        await shows(pilot, "def read_lines(path):", "Yield the lines")
        samples = screen_of(app).query_one(SamplesPanel)
        steps = samples.query_one(Listing)
        assert steps.selected == steps.keys[0]
        # Who reads an older sample is not moved by a new one.
        await pilot.press("down")
        before = steps.selected
        append(run, Sampled(305, "def read_lines(path):\n", "newest text", 5, 0.1))
        await until(pilot, lambda: len(samples.of_prompt()) == len(steps.keys) > 12)
        assert steps.selected == before
        await pilot.press("end")
        await shows(pilot, "path path path")
        await pilot.press("o")
        assert samples.prompt == "import "
        assert "path path path" in text(app)
        await pilot.press("home")
        append(run, Sampled(310, "typed prompt", "and what came of it", 5, 0.1))
        await shows(pilot, "typed prompt", "and what came of it")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_two_steps_are_compared(size: tuple[int, int], tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "smoothed 30 steps")
        if size == (80, 24):
            await pilot.press("n")
        samples = screen_of(app).query_one(SamplesPanel)
        steps = samples.query_one(Listing)
        steps.focus()
        await pilot.press("enter")
        await until(pilot, lambda: screen_of(app).query_one(Dashboard).zoomed == "samples")
        await pilot.press("end", "space")
        assert samples.marked == steps.keys[-1]
        await pilot.press("home")
        await shows(pilot, "path path path", "Yield the lines", "◆ step 50", "step 600")
        await pilot.press("end", "space")
        assert samples.marked is None


async def test_in_the_real_console_a_run_keeps_up_while_another_screen_is_shown(tmp_path: Path) -> None:
    from chomp_tui.app import ChompApp
    from chomp_tui.state import ConsoleState, StartView

    run = write_run(tmp_path / "runs" / "live", LIVE)
    state = ConsoleState(Settings(path=tmp_path / "console.yaml"), runs=tmp_path / "runs", configs=tmp_path)
    app = ChompApp(state, StartView(mode="run", run=run.path))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "300/1,000" in "\n".join(frame(app)))
        await pilot.press("1")
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        append(run, Evaluated(310, 1.1875, 3.3, 0.4375, 10, 0.1))
        await until(pilot, lambda: (update := app.run_screen.follower.update) is not None and update.view.step == 310)
        await pilot.press("4")
        await until(pilot, lambda: "310/1,000" in "\n".join(frame(app)))
        await pilot.press("enter")
        await until(pilot, lambda: app.run_screen.query_one(Dashboard).zoomed == "loss")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is app.screen_of("home"))


def test_every_run_key_has_its_action() -> None:
    for row in keys.TABLE:
        if row.scope == "run":
            assert callable(getattr(RunScreen, f"action_{parse(row.action)[1]}")), row.id


async def test_settings_beside_the_run_are_in_the_facts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "done", FakeRun(steps=200, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(200, 60)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="facts")
        await shows(pilot, "XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false", "seq_len", "megalodon-jax")
        run.config_resolved.write_text(json.dumps([1]))
        screen_of(app).show_run(run.path)
        screen_of(app).query_one(Dashboard).arrange_for(zoomed="facts")
        await shows(pilot, "is damaged")


async def test_a_tick_draws_ages_only_once_they_are_old(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", FakeRun(steps=200, ending=None))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        screen, drawn = screen_of(app), list[float]()
        follower = screen.follower
        assert follower is not None
        screen.redraw = lambda: drawn.append(follower.rest_seconds)  # type: ignore[method-assign]
        for follower.rest_seconds in (3.0, 0.5):
            # The interval itself would take seconds.
            screen._drawn_at = time.monotonic() - 2
            screen._tick()
        assert drawn == [0.5]


def test_whether_a_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0, idle=5000.0)
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(following.psutil, "cpu_times", lambda: clock)
    cores = Cores()
    # Several updates within a hundredth of a second, for which no idle time is counted, change nothing.
    for seconds, idle, busy in (
        *((4, 15, False), (0.5, 0.6, False), (0.005, 0, False), (0.5, 0.4, True)),
        *((0.01, 1, True), (4, 0, True), (4, 4.1, False)),
    ):
        clock.now += seconds
        clock.idle += idle
        assert cores.all_work() is busy

    def hidden() -> SimpleNamespace:
        raise PermissionError

    monkeypatch.setattr(following.psutil, "cpu_times", hidden)
    cores = Cores()
    clock.now += 4
    assert cores.all_work()


async def test_one_crosshair_is_on_all_charts_and_the_panel_now_shows_its_values(tmp_path: Path) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        screen = screen_of(app)
        loss, grad, tiles = (screen.query_one(f"#{name}") for name in ("loss", "grad", "tiles"))
        await pilot.press("home")
        rows = screen.follower.update.view.rows
        assert loss.cross == grad.cross == rows["step"][0]
        assert tiles.border_title == f"At step {rows['step'][0]:.0f}"
        assert f"{rows['loss'][0]:.4f}" in text(app)
        await pilot.press("shift+right")
        assert loss.cross is not None
        assert loss.cross > 10
        await pilot.press("end")
        assert tiles.border_title == "At step 600"
        await pilot.press("escape")
        assert loss.cross is grad.cross is None
        assert tiles.border_title == "Now"


async def test_another_tab_rewrites_neither_the_screen_nor_the_loss_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(tmp_path, write_run(tmp_path / "done", FakeRun(steps=600, ending="stopped")).path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "smoothed 30 steps")
        await pilot.pause(0.3)
        loss = screen_of(app).query_one("#loss", LineChart)
        inside = loss.content_region
        for key in ("n", "n", "tab"):
            with paints(app, monkeypatch) as seen:
                await pilot.press(key)
                await pilot.pause(0.2)
            assert seen
            for update in seen:
                assert isinstance(update, ChopsUpdate), "not the whole screen"
                for row, start, end in update.spans:
                    is_beside = row not in inside.line_range or end <= inside.x or start >= inside.right
                    assert is_beside, f"{key} rewrote the chart's row {row}"
