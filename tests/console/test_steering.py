"""Steering from the run view: what is written, what is told, and a real engine that obeys."""

from __future__ import annotations

import json
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from chomp.record.commands import Command
from chomp.record.events import Acknowledged, Checkpoint, Phase, Profiled, RunEnded, Sampled
from chomp.record.fold import fold
from chomp.record.origin import Origin, write_origin
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, Status
from chomp_tui.engine import commands
from chomp_tui.engine.commands import SentCommand
from chomp_tui.live.feed import RunFeed, RunUpdate
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.facts import FactsPanel
from chomp_tui.widgets.dialogs import Ask, Choose
from tests.console.hosting import Host, frame, until
from tests.console.test_run_screen import LIVE, host, screen_of, shows
from tests.engine import Engine, dummy_config, events_of, write_config, write_corpus
from tests.fakeruns import FakeRun, append, ended, hold, phase, row, started, write, write_run

TRAINING = Status("training", "●", "live", is_live=True)
ENDED = Status("stopped", "■", "idle", "stop requested")


def view_of(*events: Any) -> RunView:
    return fold(RunView(), events)


def answer(id: str, message: str = "done", *, ok: bool = True, t: float = 100.0, command: str = "save") -> Acknowledged:
    return Acknowledged(id=id, command=command, ok=ok, message=message, step=5, t=t)


def sent(run: RunDir) -> list[dict[str, Any]]:
    """The commands in a run's command file."""
    if not run.commands.exists():
        return []
    return [json.loads(line) for line in run.commands.read_text().splitlines()]


# Pure --------------------------------------------------------------------------------------


def test_what_is_told_from_the_request_to_the_answer() -> None:
    one, view = SentCommand("a1", "save", at=100.0), view_of(Phase("compile", 0, t=90.0))
    assert commands.status_of(one, view, alive=True, now=103.0).text == "◌ save: asked … 3 s"
    slow = commands.status_of(one, view, alive=True, now=112.0)
    assert slow.text == "◌ save: not yet answered, it is compiling … 12 s"
    assert slow.until is None
    gone = commands.status_of(one, view, alive=False, now=112.0)
    assert gone.text == "✗ save: the engine ended before it answered"
    answered = view_of(Phase("train", 0, t=90.0), answer("a1", "saved step 5", t=104.0))
    done = commands.status_of(one, answered, alive=False, now=112.0)
    assert (done.text, done.tone, done.until) == ("✓ save: saved step 5", "good", 104.0 + commands.SHOWN_SECONDS)
    refused = commands.status_of(one, view_of(answer("a1", "no room", ok=False)), alive=True, now=112.0)
    assert (refused.text, refused.tone) == ("✗ save: no room", "bad")


def test_a_save_that_evicts_a_checkpoint_says_so() -> None:
    one = SentCommand("a1", "save", at=100.0)
    early = (Checkpoint("committed", 1, t=90.0), Checkpoint("deleted", 0, t=91.0))
    saved = (
        answer("a1", "saving step 5", t=100.0),
        Checkpoint("committed", 5, t=110.0),
        Checkpoint("deleted", 1, t=111.0),
    )
    later = (Checkpoint("committed", 9, t=120.0), Checkpoint("deleted", 2, t=121.0))
    for events in ((*early, *saved), (*early, *saved, *later)):
        line = commands.status_of(one, view_of(*events), alive=True, now=112.0)
        assert line.text == "✓ save: saving step 5; retention deleted step 1 (tagged checkpoints stay)"
        assert line.until == 111.0 + commands.SHOWN_SECONDS


@pytest.mark.parametrize("phase", ["data", "compile", "train", "eval", "sample", "save", "paused"])
def test_a_slow_answer_is_explained_by_the_phase(phase: str) -> None:
    one, view = SentCommand("a1", "eval", at=100.0), view_of(Phase(phase, 0, t=90.0))  # type: ignore[arg-type]
    assert commands.WHY_SLOW[phase] in commands.status_of(one, view, alive=True, now=111.0).text


def test_what_is_open_goes_before_what_is_answered() -> None:
    mine = [
        SentCommand("a1", "save", at=100.0),
        SentCommand("a2", "eval", at=101.0),
        SentCommand("a3", "sample", at=102.0),
    ]
    view = view_of(answer("a3", "written", t=103.0))
    line = commands.newest_status(view, mine, alive=True, now=104.0)
    assert line is not None
    assert line.text == "◌ evaluate: asked … 3 s   (and 1 more)"
    view = view_of(*(answer(one.id, one.id, t=103.0) for one in mine))
    line = commands.newest_status(view, mine, alive=True, now=104.0)
    assert line is not None
    assert line.text == "✓ sample: a3"
    assert commands.newest_status(view, mine, alive=True, now=103.0 + commands.SHOWN_SECONDS) is None


def test_what_another_console_asked_for_is_told_too() -> None:
    view = view_of(answer("zz", "paused", t=100.0, command="pause"))
    line = commands.newest_status(view, [], alive=True, now=101.0)
    assert line is not None
    assert line.text == "✓ pause, asked elsewhere: paused"
    assert commands.newest_status(view, [], alive=True, now=200.0) is None


def test_pause_turns_around_what_is_or_what_was_asked_last() -> None:
    training, paused = view_of(Phase("train", 1, t=1.0)), view_of(Phase("paused", 1, t=1.0))
    assert commands.pause_or_resume(training, []) == "pause"
    assert commands.pause_or_resume(paused, []) == "resume"
    asked = [SentCommand("a1", "pause", at=2.0)]
    assert commands.pause_or_resume(training, asked) == "resume"
    assert commands.pause_or_resume(view_of(Phase("paused", 1, t=1.0), answer("a1")), asked) == "resume"
    assert commands.pause_or_resume(training, [replace(asked[0], problem="disk full")]) == "pause"


@pytest.mark.parametrize("job", ["eval", "sample", "save"])
def test_a_paused_run_that_does_something_meanwhile_is_told_to_go_on(job: str) -> None:
    paused = view_of(Phase("train", 1, t=1.0), Phase("paused", 1, t=2.0), Phase(job, 1, t=3.0))  # type: ignore[arg-type]
    assert commands.pause_or_resume(paused, []) == "resume"
    done = fold(paused, [Phase("paused", 1, t=4.0)])
    assert commands.pause_or_resume(done, []) == "resume"
    going = fold(paused, [answer("a2", command="resume"), Phase("paused", 1, t=4.0), Phase("train", 1, t=4.1)])
    assert commands.pause_or_resume(going, []) == "pause"
    training = view_of(Phase("train", 1, t=1.0), Phase(job, 1, t=3.0))  # type: ignore[arg-type]
    assert commands.pause_or_resume(training, []) == "pause"
    # The answer may be read before the engine says that it waits.
    assert commands.pause_or_resume(fold(training, [answer("a1", command="pause")]), []) == "resume"
    assert commands.pause_or_resume(fold(training, [answer("a1", command="pause", ok=False)]), []) == "pause"


def test_a_new_attempt_and_an_ended_one_are_not_paused() -> None:
    paused = view_of(started(), phase("paused", 1))
    assert paused.is_paused
    assert not fold(paused, [phase("data")]).is_paused
    assert not fold(paused, [started(1, attempt=2)]).is_paused
    assert not fold(paused, [ended("stopped", 1)]).is_paused


def test_facts_show_the_newest_profile_and_no_markup_of_it() -> None:
    operation = {"name": "dot [b]float32[8][/b]\x1b", "instruction": "dot.1", "calls": 10, "seconds": 1.0}
    event = Profiled(step=5, steps=5, seconds=4.0, path="profile/step-1", busy_seconds=2.0, operations=[operation])
    update = RunUpdate(RunDir(Path("run")), view_of(started(), event), Liveness())
    text = FactsPanel("Facts", id="facts").text(RunSnapshot(update, 0.0, TRAINING), 100).plain
    summary = "profile of steps 1 to 5: profile/step-1 (0 B), 800 ms a step, operations take 50% of 1 device"
    assert f"Profile\n{summary}\n" in text
    assert " 50.0%     200 ms       2  dot [b]float32[8][/b]�  [dot.1]" in text


def test_why_a_run_cannot_be_steered() -> None:
    assert commands.why_not(TRAINING, read_only=False) is None
    assert commands.why_not(TRAINING, read_only=True) == "this console is read-only"
    assert commands.why_not(ENDED, read_only=False) == "no engine is running here: the run is stopped"
    assert commands.why_not(ENDED, read_only=False, elsewhere="box2") == (
        "the engine was started on box2; steer it from there"
    )


def test_sending_writes_a_private_line(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    assert commands.send(path, Command("sample", id="a1", t=5.0, args={"prompt": "x\n\x1b"})) is None
    assert json.loads(path.read_text()) == {
        "v": 1, "t": 5.0, "id": "a1", "command": "sample", "args": {"prompt": "x\n\x1b"},
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sending_says_in_a_sentence_what_is_in_the_way(tmp_path: Path) -> None:
    problem = commands.send(tmp_path / "gone" / "commands.jsonl", Command("save"))
    assert problem == "commands.jsonl cannot be written: No such file or directory"
    open_to_all = tmp_path / "commands.jsonl"
    open_to_all.touch()
    open_to_all.chmod(0o666)
    problem = commands.send(open_to_all, Command("save"))
    assert problem is not None
    assert problem.startswith("the engine will not obey: ")


# The screen --------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "command"), [("p", "pause"), ("P", "profile"), ("e", "eval")])
async def test_a_key_writes_its_command_and_the_answer_is_shown(key: str, command: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press(key)
        await shows(pilot, f"{commands.LABELS[command]}: asked …")
        await until(pilot, lambda: sent(run))
        (record,) = sent(run)
        assert (record["command"], record["args"]) == (command, {})
        append(run, Acknowledged(record["id"], command, True, "as you wish", 300))
        await shows(pilot, f"✓ {commands.LABELS[command]}: as you wish")


async def test_pause_becomes_resume(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    append(run, Phase("paused", 300))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "‖ paused")
        await pilot.press("p")
        await until(pilot, lambda: [one["command"] for one in sent(run)] == ["resume"])


async def test_a_sample_asks_for_its_prompt(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    append(run, Sampled(300, "last prompt", "x", 1, 0.1))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await shows(pilot, "last prompt")
        await pilot.press("end", *"!q", "enter")
        await until(pilot, lambda: sent(run))
        assert sent(run)[0]["args"] == {"prompt": "last prompt!q"}
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.held)
        assert len(sent(run)) == 1


@pytest.mark.parametrize(("key", "command"), [("s", "stop"), ("a", "abort"), ("n", None), ("escape", None)])
async def test_stopping_asks_how(key: str, command: str | None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await shows(pilot, "Save and stop", "without saving", "the last checkpoint is step 300: 0 steps are lost")
        await pilot.press(key)
        await until(pilot, lambda: app.screen is app.held)
        if command is not None:
            await until(pilot, lambda: sent(run))
        assert [one["command"] for one in sent(run)] == ([] if command is None else [command])


async def test_a_fork_can_go_back_to_the_checkpoint_it_began_with(tmp_path: Path) -> None:
    now = time.time()
    rows = [row(step, t=now - 270 + step) for step in range(201, 271)]
    begun = [phase("data", t=now - 80), started(200, t=now - 79), phase("train", 200, t=now - 78)]
    run = RunDir(write(tmp_path / "fork", [*begun, *rows]))
    write_origin(run, Origin("parent", "/runs/parent", 200, "0" * 64, now - 90))
    hold(run)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(160, 60)) as pilot:
        await shows(pilot, "training", "1 saved · Enter opens", "200  parent")
        await pilot.press("S")
        await shows(pilot, "the fork began at step 200: 70 steps are lost")
        await pilot.press("escape")
        append(run, Checkpoint("committed", 260, 10, 1.0, 0.1))
        await shows(pilot, "2 saved · Enter opens")
        await pilot.press("S")
        await shows(pilot, "the last checkpoint is step 260: 10 steps are lost")
        await pilot.press("escape")
        # Retention may take it away, as any other.
        append(run, Checkpoint("deleted", 260), Checkpoint("deleted", 200))
        await shows(pilot, "0 saved")
        await pilot.press("S")
        await shows(pilot, "nothing is saved yet: 270 steps are lost")


async def test_a_command_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    run.commands.mkdir()
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("c")
        await shows(pilot, "save: commands.jsonl cannot be written: Is a directory")


async def test_a_command_file_of_another_user_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    run.commands.touch()
    run.commands.chmod(0o666)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await shows(pilot, "training")
        await pilot.press("c")
        await shows(pilot, "save: the engine will not obey:")


async def test_an_engine_that_ends_first_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("c")
        await shows(pilot, "asked …")
        append(run, RunEnded("crashed", "it broke", 300, 1, {}))
        run.lock.write_text("")
        await shows(pilot, "the engine ended before it answered", "✗ crashed", "it broke")


@pytest.mark.parametrize("key", ["p", "c", "e", "g", "S"])
async def test_a_read_only_console_writes_nothing_and_says_why(key: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path, read_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press(key)
        assert app.told == ["this console is read-only"]
        assert app.screen is app.held
    assert not run.commands.exists()


@pytest.mark.parametrize("key", ["p", "c", "e", "g", "S"])
async def test_a_dead_run_says_why_it_cannot_be_steered(key: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "done", FakeRun(steps=100, ending="stopped"))
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "stopped")
        await pilot.press(key)
        assert app.told == ["no engine is running here: the run is stopped"]
    assert not run.commands.exists()


async def test_two_consoles_agree(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        append(run, Acknowledged("other", "pause", True, "paused", 300), Phase("paused", 300))
        await shows(pilot, "‖ paused", "✓ pause, asked elsewhere: paused")
        hold(run)
        await pilot.press("p")
        await until(pilot, lambda: [one["command"] for one in sent(run)] == ["resume"])


async def test_the_feed_is_poked_when_a_command_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poked: list[object] = []
    monkeypatch.setattr(RunFeed, "poke", lambda self: poked.append(self))
    run = write_run(tmp_path / "live", LIVE)
    app = host(tmp_path, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "training")
        await pilot.press("e")
        await until(pilot, lambda: poked)


# A real engine -----------------------------------------------------------------------------


async def answered(pilot: Pilot[Any], run: Path, command: str, number: int = 1) -> None:
    """Wait until the engine has answered so many commands of a kind."""

    def count() -> int:
        return sum(one.command == command and one.ok for one in events_of(run, Acknowledged))  # type: ignore[attr-defined]

    await until(pilot, lambda: count() >= number, seconds=120)


async def until_shown(pilot: Pilot[Any], app: Host, *wanted: str) -> None:
    await until(pilot, lambda: all(one in "\n".join(frame(app)) for one in wanted), seconds=120)


@pytest.mark.process
async def test_a_real_engine_is_watched_steered_stopped_and_struck(tmp_path: Path) -> None:
    config = dummy_config(
        write_corpus(tmp_path / "corpus"),
        train={"steps": 10_000_000, "log_every": 200, "generate_max_tokens": 8},
        checkpoint={"save_every": 0},
    )
    run, file = tmp_path / "run", write_config(tmp_path / "config.yaml", config)
    engine = Engine(run, "train", file, "--run-dir", run)
    app = host(tmp_path, run)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await until_shown(pilot, app, "training", "smoothed 30 steps", "tokens/s")
            assert app.state.live[run] == engine.process.pid
            await _steer(pilot, app, run)
            assert engine.finish() == 0
            engine = Engine(run, "train", file, "--run-dir", run, "--resume", "latest")
            await until_shown(pilot, app, "training", "attempt 2")
            engine.signal(signal.SIGKILL)
            engine.finish()
            await until_shown(pilot, app, "✗ crashed", "the engine ended without a last event")
            await until(pilot, lambda: run not in app.state.live)
    finally:
        engine.signal(signal.SIGKILL)


async def _steer(pilot: Pilot[Any], app: Host, run: Path) -> None:
    """Every command once, each answered and shown."""
    shown: Callable[..., Any] = until_shown
    await pilot.press("p")
    await answered(pilot, run, "pause")
    await shown(pilot, app, "‖ paused", "✓ pause: paused")
    await pilot.press("p")
    await answered(pilot, run, "resume")
    await shown(pilot, app, "✓ resume: resumed", "● training")
    await pilot.press("c")
    await answered(pilot, run, "save")
    await shown(pilot, app, "✓ save:")
    await pilot.press("e")
    await answered(pilot, run, "eval")
    await shown(pilot, app, "✓ evaluate: evaluated at step")
    await pilot.press("g")
    await until(pilot, lambda: isinstance(app.screen, Ask))
    await pilot.press(*"def f", "enter")
    await answered(pilot, run, "sample")
    assert "def f" in [one.prompt for one in events_of(run, Sampled)]  # type: ignore[attr-defined]
    await pilot.press("n")
    await shown(pilot, app, "def f")
    await pilot.press("S")
    await until(pilot, lambda: isinstance(app.screen, Choose))
    await pilot.press("s")
    await shown(pilot, app, "■ stopped")
    assert screen_of(app).chomp.state is app.state
