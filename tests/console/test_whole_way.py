"""The whole way with a real engine: configure, launch, watch, steer, stop, resume, kill, fork."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from chomp.record.commands import Command, send_command
from chomp.record.event_log import read_events
from chomp.record.events import RunStarted
from chomp.record.lock import live_holder
from chomp.record.manifest import list_checkpoints
from chomp.record.origin import read_origin
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir, list_runs
from chomp_tui.app import ChompApp
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState, StartView
from chomp_tui.widgets.dialogs import Ask, Choose
from chomp_tui.widgets.listing import Listing
from tests.console.hosting import frame, until
from tests.engine import dummy_config, write_config, write_corpus

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 120
KEYS = {"-": "minus", ".": "full_stop"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration that trains until it is stopped; engines left in it are killed afterwards."""
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path / "corpus")
    (tmp_path / "configs").mkdir()
    config = dummy_config(
        corpus,
        train={"steps": 10_000_000, "log_every": 50, "generate_max_tokens": 8},
        checkpoint={"save_every": 1_000_000},
    )
    write_config(tmp_path / "configs" / "tiny.yaml", config)
    yield tmp_path
    for path in list_runs(tmp_path / "runs"):
        holder = live_holder(RunDir(path).lock)
        if holder is not None:
            os.kill(holder.pid, signal.SIGKILL)


def console(opening: StartView) -> ChompApp:
    return ChompApp(ConsoleState(Settings(path=Path("console.yaml"))), opening)


def only_run() -> RunDir:
    (path,) = list_runs(Path("runs"))
    return RunDir(path)


def view(app: ChompApp) -> RunView:
    snapshot = app.run_screen.snapshot()
    return snapshot.view if snapshot is not None else RunView()


def word(app: ChompApp) -> str:
    snapshot = app.run_screen.snapshot()
    return snapshot.status.word if snapshot is not None else ""


async def wait(pilot: Pilot[None], wanted: Callable[[], object]) -> None:
    await until(pilot, wanted, PATIENCE_SECONDS)


async def ask(pilot: Pilot[None], app: ChompApp, command: str, *keys: str) -> str:
    """Press the keys and wait until the engine has answered a command of that name; returns what it said."""

    def answers() -> list[str]:
        return [answer.message for answer in view(app).answers if answer.command == command]

    before = len(answers())
    for key in keys:
        await pilot.press(key)
    await wait(pilot, lambda: len(answers()) > before)
    return answers()[-1]


async def test_configure_launch_steer_stop_resume_kill_fork(place: Path) -> None:
    app = console(StartView(mode="configure", config=Path("configs/tiny.yaml")))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("f5")
        await wait(pilot, lambda: app.screen is app.run_screen and len(view(app).rows) > 1)
        assert word(app) == "training"
        run = only_run()
        first = live_holder(run.lock)
        assert first is not None
        assert app.state.live[run.path] == first.pid

        await ask(pilot, app, "pause", "p")
        await wait(pilot, lambda: word(app) == "paused")
        at_pause = view(app).step
        await ask(pilot, app, "resume", "p")
        await wait(pilot, lambda: view(app).step > at_pause)

        await ask(pilot, app, "save", "c")
        await wait(pilot, lambda: list_checkpoints(run.checkpoints))
        first_saved = list_checkpoints(run.checkpoints)[0].step
        await ask(pilot, app, "eval", "e")
        await wait(pilot, lambda: len(view(app).evals) > 0)

        await pilot.press("g")
        await wait(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = "while true"
        await ask(pilot, app, "sample", "enter")
        await wait(pilot, lambda: any(sample.prompt == "while true" for sample in view(app).samples))

        await pilot.press("S")
        await wait(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("s")
        await wait(pilot, lambda: word(app) == "stopped")
        stopped_at = list_checkpoints(run.checkpoints)[-1].step
        await wait(pilot, lambda: live_holder(run.lock) is None)

        await pilot.press("r")
        await wait(pilot, lambda: app.screen is app.checkpoints_screen and app.checkpoints_screen.row() is not None)
        assert app.checkpoints_screen.row().step == stopped_at
        await pilot.press("enter")
        await wait(pilot, lambda: app.screen is app.run_screen and view(app).attempts == 2)
        await wait(pilot, lambda: word(app) == "training" and view(app).step > stopped_at)
        starts = [event for event in read_events(run.events) if isinstance(event, RunStarted)]
        assert [event.resumed_from for event in starts] == [None, stopped_at]

        second = live_holder(run.lock)
        assert second is not None
        os.kill(second.pid, signal.SIGKILL)
        await wait(pilot, lambda: word(app) == "crashed")
        assert "killed" in " ".join(frame(app))
        assert run.path not in app.state.live

        await _go_back(pilot, app, run, first_saved, stopped_at)
        await _fork_with_other_settings(pilot, app, run, first_saved)


async def _select(pilot: Pilot[None], app: ChompApp, step: int) -> None:
    """Show the checkpoints of the shown run and select one of them."""
    await pilot.press("5")
    screen = app.checkpoints_screen
    await wait(pilot, lambda: app.screen is screen and (row := screen.row()) is not None and row.run.exists())
    await wait(pilot, lambda: screen.query_one(Listing).select(str(screen.row().run / "checkpoints" / str(step))))
    await wait(pilot, lambda: screen.row().step == step)


async def _go_back(pilot: Pilot[None], app: ChompApp, run: RunDir, earlier: int, latest: int) -> None:
    """Resume from a checkpoint that is not the latest: later ones are moved out of the way, not deleted."""
    await _select(pilot, app, earlier)
    await pilot.press("enter")
    await wait(
        pilot, lambda: isinstance(app.screen, Choose) and f"Go back to step {earlier:,}?" in "\n".join(frame(app))
    )
    await pilot.press("y")
    await wait(pilot, lambda: app.screen is app.run_screen and view(app).attempts == 3)
    await wait(pilot, lambda: word(app) == "training" and view(app).step > earlier)
    starts = [event for event in read_events(run.events) if isinstance(event, RunStarted)]
    assert [event.resumed_from for event in starts] == [None, latest, earlier]
    assert [info.step for info in list_checkpoints(run.checkpoints)] == [earlier]
    assert (run.checkpoints / "set-aside" / "before-attempt-3" / str(latest)).is_dir()
    await pilot.press("S")
    await wait(pilot, lambda: isinstance(app.screen, Choose))
    await pilot.press("a")
    await wait(pilot, lambda: word(app) == "stopped" and live_holder(run.lock) is None)


async def _fork_with_other_settings(pilot: Pilot[None], app: ChompApp, run: RunDir, step: int) -> None:
    """A fork with another learning rate and length, which the new run starts with and writes down."""
    await _select(pilot, app, step)
    await pilot.press("f")
    await wait(pilot, lambda: app.screen is app.configure_screen and app.configure_screen.draft.fork is not None)
    await wait(pilot, lambda: "no settings differ" in " ".join(frame(app)))
    for path, text in (("optim.lr", "5e-4"), ("train.steps", "9000000")):
        assert await app.configure_screen.query_one(ConfigForm).focus_path(path)
        await pilot.pause()
        await pilot.press("enter", "ctrl+u", *(KEYS.get(letter, letter) for letter in text))
    await wait(pilot, lambda: "1 to confirm, 1 compatible" in " ".join(frame(app)))
    await pilot.press("f5")
    await wait(pilot, lambda: isinstance(app.screen, Choose) and "optim.lr: 0.003 → 0.0005" in "\n".join(frame(app)))
    await pilot.press("y")
    await wait(pilot, lambda: len(list_runs(Path("runs"))) == 2 and app.screen is app.run_screen)
    await wait(pilot, lambda: word(app) == "training" and view(app).step > step)
    (new,) = [path for path in list_runs(Path("runs")) if path != run.path]
    (started,) = [event for event in read_events(RunDir(new).events) if isinstance(event, RunStarted)]
    assert (started.resumed_from, started.total_steps, started.accepted) == (step, 9_000_000, ["optim.lr"])
    settings = RunDir(new).load_resolved()
    assert (settings["optim"]["lr"], settings["train"]["steps"]) == (5e-4, 9_000_000)
    origin = read_origin(RunDir(new))
    assert origin is not None
    assert (origin.run, origin.step) == (run.path.name, step)
    assert "fork of" in " ".join(frame(app))
    # The run that it came from is as it was.
    assert run.load_resolved()["optim"]["lr"] == 3e-3


async def test_two_consoles_on_one_run_agree(place: Path) -> None:
    first = console(StartView(mode="configure", config=Path("configs/tiny.yaml"), start=True))
    async with first.run_test(size=(80, 24)) as one:
        await wait(one, lambda: word(first) == "training")
        second = console(StartView(mode="run", run=only_run().path))
        async with second.run_test(size=(120, 40)) as other:
            await wait(other, lambda: word(second) == "training")
            await other.press("p")
            await wait(other, lambda: word(second) == "paused")
            await wait(one, lambda: word(first) == "paused")
            assert view(first).step == view(second).step
            await one.press("p")
            await wait(one, lambda: word(first) == "training")
            await wait(other, lambda: word(second) == "training")
        assert live_holder(only_run().lock) is not None


async def test_what_cannot_start_is_refused_and_what_fails_later_comes_back_to_the_screen(place: Path) -> None:
    """No file matches: pre-flight knows. What every row of a table holds only the engine finds out."""
    app = console(
        StartView(mode="configure", config=Path("configs/tiny.yaml"), overrides=("data.files=[nowhere/*.txt]",))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("f5")
        await wait(pilot, lambda: "This run cannot start" in "\n".join(frame(app)))
        assert "nowhere/*.txt" in " ".join(frame(app))
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    Path("numbers.jsonl").write_text('{"text": "good"}\n{"text": 3}\n')
    app = console(
        StartView(mode="configure", config=Path("configs/tiny.yaml"), overrides=("data.files=[numbers.jsonl]",))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("f5")
        await wait(pilot, lambda: app.screen is app.run_screen and "numbers.jsonl" in " ".join(frame(app)))
        # The sentence comes from a file of the run, which the engine writes before its process ends.
        await wait(pilot, lambda: not app.state.live)


async def test_a_console_that_leaves_does_not_stop_the_run(place: Path) -> None:
    app = console(StartView(mode="configure", config=Path("configs/tiny.yaml"), start=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait(pilot, lambda: word(app) == "training")
        await pilot.press("q")
        await pilot.pause()
    run = only_run()
    holder = live_holder(run.lock)
    assert holder is not None
    assert app.state.live == {run.path: holder.pid}
    again = console(StartView(mode="run", run=run.path))
    async with again.run_test(size=(80, 24)) as pilot:
        await wait(pilot, lambda: word(again) == "training")
        send_command(run.commands, Command("abort"))
        await wait(pilot, lambda: word(again) == "stopped")
