"""The checkpoints screen: which one is worth what, its integrity, and what going on from it means."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from chomp.config import parse_config
from chomp.queue.launch import LaunchRequest
from chomp.record.codec import json_line
from chomp.record.formatting import size, when
from chomp.record.lock import RunLock
from chomp.record.manifest import HELD_OUT, list_checkpoints, read_info, seal
from chomp.record.rundir import RunDir
from chomp_tui.app import ChompApp
from chomp_tui.config.draft import ForkOrigin
from chomp_tui.engine.resume_plan import more_steps_problem, plan_resume
from chomp_tui.live import checkpoint_list as checkpointlist
from chomp_tui.live.checkpoint_list import CheckpointReader, Reference, differences, settings_of
from chomp_tui.screens.checkpoints import sampling
from chomp_tui.screens.checkpoints.excerpt import MARK
from chomp_tui.screens.checkpoints.sampling import SampleDialog
from chomp_tui.screens.checkpoints.screen import CheckpointsScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.detail import Detail
from chomp_tui.widgets.dialogs import Ask, Choose, Read
from chomp_tui.widgets.listing import Listing
from tests.console.fakehelper import fake_helper
from tests.console.hosting import SIZES, Host, console_state, frame, paints, until
from tests.fakeruns import TEXT, make_checkpoint, make_run

# Every size and key of a whole screen, in hundreds of frames.

OTHER_RATE = TEXT.replace("3e-3", "1e-3")
OTHER_WIDTH = TEXT.replace("model_dim: 16", "model_dim: 32")
OTHER_LENGTH = TEXT.replace("steps: 200", "steps: 150")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = make_run(tmp_path / "runs" / "one")
    make_checkpoint(made, 50, eval_loss=2.5, text=OTHER_RATE, tags=("base",))
    make_checkpoint(made, 100, eval_loss=2.25)
    make_checkpoint(made, 150, eval_loss=2.75)
    return made


def host(run: RunDir, show: Path | None, *, read_only: bool = False) -> Host:
    screen = CheckpointsScreen()
    screen.show(show)
    return Host(screen, console_state(run.path.parent, Path("configs"), read_only=read_only))


def screen(app: Host) -> CheckpointsScreen:
    assert isinstance(app.held, CheckpointsScreen)
    return app.held


def listing(app: Host) -> Listing:
    return screen(app).query_one(Listing)


async def filled(app: Host, pilot: Any, number: int) -> Listing:
    await until(pilot, lambda: screen(app).is_mounted and len(listing(app).keys) == number)
    await pilot.pause()
    return listing(app)


async def select(app: Host, pilot: Any, step: int) -> None:
    assert listing(app).select(next(key for key in listing(app).keys if key.endswith(f"/{step}")))
    await pilot.pause()


async def dialog(app: Host, pilot: Any, kind: type) -> str:
    await until(pilot, lambda: isinstance(app.screen, kind))
    await pilot.pause()
    return "\n".join(frame(app))


async def test_one_run_begins_with_its_newest_checkpoint_and_escape_leads_back_to_all(run: RunDir) -> None:
    make_checkpoint(make_run(run.path.parent / "two"), 10)
    app = host(run, None)
    async with app.run_test(size=(120, 40)) as pilot:
        rows = await filled(app, pilot, 4)
        for path, step in ((run.path, 150), (run.path.parent / "two", 10), (run.path, 150)):
            rows.select(rows.keys[-1])
            screen(app).show(path)
            await until(pilot, lambda path=path: screen(app).found.run == path)
            assert (rows.selected or "").endswith(f"/{step}")
            screen(app).show(None)
            await filled(app, pilot, 4)
            assert (rows.selected or "").endswith(f"/{step}"), "it is still the same checkpoint"
        screen(app).show(run.path)
        await filled(app, pilot, 3)
        assert "Checkpoints of one" in "\n".join(frame(app))
        await pilot.press("escape")
        await filled(app, pilot, 4)
        assert "Checkpoints of all runs" in "\n".join(frame(app))
        await pilot.press("slash", *"tw", "enter")
        await filled(app, pilot, 1)
        await pilot.press("escape")
        await filled(app, pilot, 4)
        assert not screen(app).query_one(Input).display


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [True, False])
async def test_all_checkpoints_at_a_glance(
    size: tuple[int, int], colour: bool, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    make_checkpoint(make_run(run.path.parent / "two"), 10)
    app = host(run, None)
    async with app.run_test(size=size) as pilot:
        await filled(app, pilot, 4)
        await until(pilot, lambda: any("eval" in line for line in frame(app)))
        text = frame(app)
        assert all(len(line) == size[0] for line in text)
        rows = {
            step: next(line for line in text if line[0] == "│" and f" {run} " in line and f" {step} " in line)
            for run, step in (("one", 50), ("one", 100), ("one", 150), ("two", 10))
        }
        assert "latest" in rows[150]
        assert "★" not in rows[150]
        assert "★" in rows[100]
        assert "2.2500" in rows[100]
        assert "to confirm" in rows[50]
        assert all("same" in rows[step] for step in (100, 150, 10))
        assert all(" ? " in line for line in rows.values()), "no check has read their bytes"
        if size[0] >= 120:
            assert "optim.lr" in rows[50]
            assert "5.0000" in rows[50]


async def test_when_every_checkpoint_was_saved_and_its_size(run: RunDir) -> None:
    sizes, now = [], time.time()
    for step in (150, 100, 50):
        folder = run.checkpoints / str(step)
        (folder / "params" / "d").write_bytes(b"0" * 4_000 * step)
        sizes.append(size(seal(folder, {**read_info(folder).meta, "saved_at": now - 50_000 * step})))
    app = host(run, None)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(app, pilot, 3)
        region = listing(app).region
        head, *rows = [line[region.x : region.right] for line in frame(app)[region.y : region.bottom]]
        shown = {
            title: [row[: head.index(title) + len(title)].split()[-1] for row in rows[:3]] for title in ("step", "when")
        }
        shown["size"] = [" ".join(row[: head.index("size") + 4].split()[-2:]) for row in rows[:3]]
        assert shown["step"] == ["150", "100", "50"]
        assert shown["when"] == [when(now - 50_000 * step, now).split()[-1] for step in (150, 100, 50)]
        assert shown["size"] == sizes


async def test_the_detail_is_laid_out_for_its_panel_at_once(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckpointsScreen, "TICK_SECONDS", 3600.0)
    monkeypatch.chdir(run.path.parent.parent)
    app = ChompApp(ConsoleState(Settings()))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: app.screen_of("home").is_ready)
        await pilot.press("5")
        await until(pilot, lambda: "integrity: not verified; v compares" in "\n".join(frame(app)))
        # Further lines of a fact begin behind its name.
        await until(pilot, lambda: any("│         every byte with" in line for line in frame(app)), seconds=3)


async def test_a_long_name_is_not_cut_where_there_is_room(tmp_path: Path) -> None:
    name = "quickstart-cpu-fork-20261128-151249"
    made = make_run(tmp_path / "runs" / name)
    make_checkpoint(made, 50)
    app = host(made, None)
    async with app.run_test(size=(160, 48)) as pilot:
        table = await filled(app, pilot, 1)
        assert name in "".join(segment.text for segment in table.render_line(1))


async def test_nothing_to_show(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "one")
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "one has no checkpoint yet" in "\n".join(frame(app)))
        await pilot.press("enter", "f", "g", "x", "v", "t", "d", "i")
        await pilot.pause()
        assert (app.asked, app.screen) == ([], app.held)
        make_checkpoint(run, 10)
        screen(app).look_again()
        await filled(app, pilot, 1)


async def test_damaged_checkpoints_are_marked_and_refused(run: RunDir) -> None:
    path = run.checkpoints / "100" / "params" / "d"
    raw = bytearray(path.read_bytes())
    raw[1234] ^= 1
    path.write_bytes(raw)
    app = host(run, run.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("v")
        await until(pilot, lambda: any("150" in line and "✓ yes" in line for line in frame(app)))
        await select(app, pilot, 100)
        await pilot.press("v")
        await until(pilot, lambda: any("100" in line and "✗ no" in line for line in frame(app)))
        assert "DAMAGED: params/d has changed: its SHA-256 does not match" in "\n".join(frame(app))
        await pilot.press("enter", "f", "g")
        await until(pilot, lambda: len(app.told) == 3)
        assert set(app.told) == {"step 100 is damaged: params/d has changed: its SHA-256 does not match"}
        assert (app.asked, app.screen) == ([], app.held)
        # A damaged description is found without a verification.
        app.told.clear()
        (run.checkpoints / "150" / "meta.json").write_text("{")
        screen(app).look_again()
        await until(pilot, lambda: any("150" in line and "✗ no" in line and "damaged" in line for line in frame(app)))
        await select(app, pilot, 150)
        await pilot.press("enter", "f")
        await until(pilot, lambda: len(app.told) == 2)
        assert all("meta.json is damaged" in sentence for sentence in app.told)
        assert app.asked == []


async def test_a_verification_shows_how_far_it_is_and_ends_with_the_console(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, ended = threading.Event(), threading.Event()

    def slow(folder: Path, on_bytes: Any) -> list[str]:
        try:
            on_bytes(read_info(folder).bytes // 2)
            while True:
                going.wait(0.01)
                on_bytes(0)
        finally:
            ended.set()

    monkeypatch.setattr("chomp_tui.screens.checkpoints.checkpoint_actions.verify", slow)
    monkeypatch.setattr("chomp_tui.screens.checkpoints.checkpoint_actions.PROGRESS_SECONDS", 0.0)
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("v")
        await until(pilot, lambda: any("150" in line and " 50%" in line for line in frame(app)))
        assert "comparing, 50%" in "\n".join(frame(app))
    assert ended.wait(10)


async def test_tags(run: RunDir) -> None:
    app = host(run, run.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("t")
        await dialog(app, pilot, Ask)
        await pilot.press(*"b, a", "enter")
        await until(pilot, lambda: read_info(run.checkpoints / "150").tags == ("a", "b"))
        await until(pilot, lambda: "a, b (kept by retention)" in "\n".join(frame(app)))
        await select(app, pilot, 50)
        await pilot.press("t")
        await dialog(app, pilot, Ask)
        assert app.screen.query_one(Input).value == "base"
        await pilot.press("ctrl+u", "enter")
        await until(pilot, lambda: read_info(run.checkpoints / "50").tags == ())


async def test_what_differs_as_a_table(run: RunDir) -> None:
    app = host(run, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await filled(app, pilot, 3)
        await select(app, pilot, 50)
        assert "to confirm before a resume: optim.lr" in "\n".join(frame(app))
        await pilot.press("i")
        text = await dialog(app, pilot, Read)
        line = next(line for line in text.splitlines() if "optim.lr" in line and "0.003" in line)
        assert "0.001" in line
        assert "0.003" in line
        assert "to confirm: later losses would not be those" in line
        await pilot.press("escape")
        await select(app, pilot, 100)
        await pilot.press("i")
        await until(pilot, lambda: app.told == ["step 100 of one and the run's own settings: nothing differs"])
        assert app.screen is screen(app)


async def test_the_samples_of_a_checkpoint_are_shown_literally(run: RunDir) -> None:
    rows = [(50, "def ", "early"), (100, "def ", "[bold]f[/]():\x1b[31m"), (100, "class ", "Two")]
    lines = [json.dumps({"step": step, "prompt": prompt, "text": text, "tokens": 3}) for step, prompt, text in rows]
    run.samples.write_text("\n".join([*lines, '{"step": 100, "torn']))
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await select(app, pilot, 100)
        await pilot.press("s")
        text = await dialog(app, pilot, Read)
        assert "Samples of step 100 of one" in text
        assert "sample 1 of 2" in text
        assert "def [bold]f[/]():�[31m" in text
        assert "class Two" in text
        assert "early" not in text
        await pilot.press("escape")
        await select(app, pilot, 150)
        await pilot.press("s")
        await until(pilot, lambda: bool(app.told))
    assert app.told == ["one has no samples of step 150; train.generate_for_checkpoints writes some at each save"]


async def test_a_wide_screen_shows_where_in_its_run_a_checkpoint_is_and_what_it_wrote(run: RunDir) -> None:
    rows = [json_line({"step": step, "loss": 4 - step / 100}) for step in range(0, 201, 10)]
    run.metrics.write_bytes(b"".join(rows))
    sample = {"step": 100, "prompt": "def ", "text": "[b]f():\x1b\n    return 1", "tokens": 3}
    run.samples.write_text(json.dumps(sample) + "\n")
    app = host(run, run.path)
    async with app.run_test(size=(160, 48)) as pilot:
        await filled(app, pilot, 3)
        await select(app, pilot, 100)
        panel = screen(app).query_one("#list-detail")
        await until(pilot, lambda: MARK in str(screen(app).query_one(Detail).content))
        lines = [line[panel.region.x + 2 : panel.region.right - 2] for line in frame(app)]
        text = "\n".join(line.rstrip() for line in lines)
        marked = next(line for line in lines if MARK in line)
        assert marked.index(MARK) == pytest.approx(len(marked) / 2, abs=1), "the step is in the middle of the run"
        assert "loss    4.0000 → 2.0000" in text
        assert "update  muon, lr 0.003, warm-up 2" in text
        assert "def [b]f():�\n    return 1" in text, "the lines of the sample are kept"
        await select(app, pilot, 150)
        await until(pilot, lambda: "return 1" not in "\n".join(frame(app)))
        for path in (run.metrics, run.samples):
            path.unlink()
            path.mkdir()
        await select(app, pilot, 50)
        await until(pilot, lambda: "lr 0.001" in "\n".join(frame(app)))
        assert MARK not in "\n".join(frame(app)), "files that cannot be read are left out"


async def test_compared_with_the_current_configuration(run: RunDir) -> None:
    app = host(run, run.path)
    app.state.current_config = parse_config(OTHER_WIDTH, source="configs/wide.yaml")
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(app, pilot, 3)
        text = "\n".join(frame(app))
        assert "vs wide.yaml" in text
        assert "cannot resume with these settings: model.model_dim cannot change" in text
        app.state.current_config = parse_config(OTHER_LENGTH, source="configs/long.yaml")
        screen(app).look_again()
        await until(pilot, lambda: "1 setting differs, compatible: train.steps" in "\n".join(frame(app)))
        assert any("100" in line and "compatible: 1 change" in line for line in frame(app))


async def test_what_resuming_asks_before_it_starts(run: RunDir) -> None:
    """Nothing for the latest; else what is set aside, which changes to confirm, or up to which step to train."""
    app = host(run, run.path)
    app.state.environment = {"XLA_FLAGS": "--x"}
    async with app.run_test(size=(120, 40)) as pilot:

        async def launched(**options: Any) -> None:
            await until(pilot, lambda: app.asked)
            assert app.asked == [("launch", LaunchRequest(run_dir=run.path, **options))]
            app.asked.clear()

        await filled(app, pilot, 3)
        await pilot.press("enter")
        await launched(resume="150", environment={"XLA_FLAGS": "--x"})
        app.state.environment = {}

        await select(app, pilot, 100)
        await pilot.press("enter")
        text = " ".join((await dialog(app, pilot, Choose)).replace("│", " ").split())
        assert "The checkpoint of step 150 is moved to checkpoints/set-aside/, not deleted." in text
        assert "beyond step 100 are removed from metrics.jsonl and samples.jsonl; events.jsonl keeps all" in text
        await pilot.press("escape")
        await pilot.pause()
        assert app.asked == []
        await pilot.press("enter")
        await dialog(app, pilot, Choose)
        await pilot.press("y")
        await launched(resume="100")

        await select(app, pilot, 50)
        await pilot.press("enter")
        assert "optim.lr: 0.001 → 0.003" in await dialog(app, pilot, Choose)
        await pilot.press("y")
        await until(pilot, lambda: "Go back to step 50?" in "\n".join(frame(app)))
        await pilot.press("y")
        await launched(resume="50", accept=("optim.lr",))

        make_checkpoint(run, 160, text=OTHER_WIDTH)
        screen(app).look_again()
        await filled(app, pilot, 4)
        await select(app, pilot, 160)
        await pilot.press("enter")
        text = await dialog(app, pilot, Read)
        assert "model.model_dim" in text
        assert "cannot change" in text
        await pilot.press("escape")
        await pilot.pause()
        assert app.asked == []

        make_checkpoint(run, 200)
        screen(app).look_again()
        await filled(app, pilot, 5)
        await select(app, pilot, 200)
        await pilot.press("enter")
        assert "This run ends at step 200" in await dialog(app, pilot, Ask)
        await pilot.press("ctrl+u", *"200", "enter")
        assert "must be more than 200" in "\n".join(frame(app))
        await pilot.press("ctrl+u", *"300", "enter")
        await launched(resume="200", overrides=("train.steps=300",))


async def test_a_live_run_is_neither_resumed_nor_robbed_and_a_read_only_console_only_looks(run: RunDir) -> None:
    lock = RunLock(run.lock)
    lock.acquire()
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.told) == 1)
        await pilot.press("d")
        await until(pilot, lambda: len(app.told) == 2)
        assert app.told[0].startswith(f"one is running (pid {os.getpid()}): stop it first, or fork")
        assert app.told[1] == f"one is running (pid {os.getpid()}): stop it first"
        assert (app.asked, app.screen) == ([], app.held)
        await pilot.press("f")
        assert app.asked == [("edit", run.path, ForkOrigin(run.path, 150))], "a fork leaves it alone"
        lock.release()
        app.asked.clear()
        app.told.clear()
        app.state.read_only = True
        for number, key in enumerate(("enter", "f", "g", "t", "d"), 1):
            await pilot.press(key)
            await until(pilot, lambda number=number: len(app.told) == number)
        assert set(app.told) == {"this console is read-only"}
        assert (app.asked, app.screen) == ([], app.held)
        await pilot.press("v")
        await until(pilot, lambda: any("✓ yes" in line for line in frame(app)))


async def test_deleting_one(run: RunDir) -> None:
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await select(app, pilot, 50)
        await pilot.press("d")
        text = await dialog(app, pilot, Choose)
        assert "It is tagged “base”" in text
        await pilot.press("escape")
        await select(app, pilot, 100)
        await pilot.press("d")
        assert "It has the lowest evaluation loss of its run." in await dialog(app, pilot, Choose)
        await pilot.press("y")
        await filled(app, pilot, 2)
        assert [info.step for info in list_checkpoints(run.checkpoints)] == [50, 150]
        assert app.told == ["deleted step 100 of one"]
        assert listing(app).selected == str(run.checkpoints / "50"), "the row that took its place"
        assert any("50" in line and "★" in line for line in frame(app)), "the best of those that are left"


# A fake engine: it says that it is ready, then answers each line.
ENGINE = """
import json, signal, sys, time
def say(**line): print(json.dumps(line), flush=True)
say(step=1, run="r")
for line in sys.stdin:
    asked = json.loads(line)
    if asked["prompt"] == "refused":
        say(problem="top_p: Input should be less than or equal to 1")
        continue
    say(prompt=asked["prompt"])
    say(piece="\\x1b[2J[red]x")
    try:
        if asked["prompt"] == "for ever":
            time.sleep(600)
        say(piece=" and " + json.dumps(asked, sort_keys=True))
        say(tokens=5, end="length", seconds=0.5)
    except KeyboardInterrupt:
        say(tokens=1, end="stopped", seconds=0.5)
"""


async def sampling_dialog(app: Host, pilot: Any) -> SampleDialog:
    await filled(app, pilot, 3)
    await pilot.press("g")
    await until(pilot, lambda: isinstance(app.screen, SampleDialog) and app.screen.is_mounted)
    assert isinstance(app.screen, SampleDialog)
    return app.screen


async def write(opened: SampleDialog, pilot: Any, prompt: str) -> None:
    opened.query_one("#sample-prompt", Input).value = prompt
    await pilot.press("enter")


def seen(app: Host) -> str:
    return "\n".join(frame(app))


@pytest.mark.parametrize("size", SIZES)
async def test_one_prompt_after_another_is_continued_and_shown_literally(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    app = host(run, run.path)
    app.state.helper = fake_helper(ENGINE)
    async with app.run_test(size=size) as pilot:
        opened = await sampling_dialog(app, pilot)
        assert "Write with step 150 of" in seen(app)
        # The user presses Enter before the model is loaded; the text is written once it is.
        await write(opened, pilot, "--[b]def")
        await until(pilot, lambda: "--[b]def�[2J[red]x and" in seen(app).replace("\n", ""))
        await until(pilot, lambda: "5 tokens, 10.0 tokens/s; ended at the token limit" in seen(app))
        opened.query_one("#sample-temperature", Input).value = "0"
        opened.query_one("#sample-top_k", Input).value = "7"
        await write(opened, pilot, "again")
        await until(pilot, lambda: '"temperature": 0.0' in opened.session.text)
        asked = json.loads(opened.session.text.partition(" and ")[2])
        assert asked == {"prompt": "again", "temperature": 0.0, "top_k": 7, "max_tokens": 128, "seed": 42}
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.held


async def test_what_cannot_be_asked_for_is_said(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(run, run.path)
    app.state.helper = fake_helper(ENGINE)
    async with app.run_test(size=(80, 24)) as pilot:
        opened = await sampling_dialog(app, pilot)
        opened.query_one("#sample-top_k", Input).value = "many"
        await write(opened, pilot, "x")
        await until(pilot, lambda: "top-k: many is no whole number" in seen(app))
        opened.query_one("#sample-top_k", Input).value = ""
        await write(opened, pilot, "refused")
        await until(pilot, lambda: "top_p: Input should be less than or equal to 1" in seen(app))
        await write(opened, pilot, "good")
        # The text is drawn up to a tenth of a second after the sentence about it.
        await until(pilot, lambda: "5 tokens" in seen(app) and not opened.session.has_news)
        # A text that nothing is added to is not laid out again.
        laid_out: list[object] = []
        monkeypatch.setattr(sampling, "set_text", lambda *args: laid_out.append(args))
        await pilot.pause(3 * sampling.DRAW_SECONDS)
        assert laid_out == []
        opened.session.take(b'{"piece": "more"}')
        await until(pilot, lambda: len(laid_out) == 1)


async def test_escape_ends_the_text_and_then_the_screen(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(run, run.path)
    app.state.helper = fake_helper(ENGINE)
    async with app.run_test(size=(80, 24)) as pilot:
        opened = await sampling_dialog(app, pilot)
        await write(opened, pilot, "for ever")
        await until(pilot, lambda: "[red]x" in seen(app))
        await pilot.press("escape")
        await until(pilot, lambda: "1 tokens, 2.0 tokens/s; ended at your key" in seen(app))
        assert app.screen is opened
        call = opened.session.call
        assert call is not None
        assert not call.ended.done()
        await pilot.press("escape")
        await until(pilot, call.ended.done)
        assert app.screen is app.held


async def test_an_engine_that_fails_says_why(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('noise', file=sys.stderr); sys.exit('error: there is no GPU')"
    app = host(run, run.path)
    app.state.helper = fake_helper(code)
    async with app.run_test(size=(80, 24)) as pilot:
        await sampling_dialog(app, pilot)
        await until(pilot, lambda: "there is no GPU" in seen(app))


async def test_leaving_while_the_model_is_loaded_leaves_no_process(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(run, run.path)
    app.state.helper = fake_helper("import time; time.sleep(600)")
    async with app.run_test(size=(80, 24)) as pilot:
        opened = await sampling_dialog(app, pilot)
        await until(pilot, lambda: "loading the model…" in seen(app))
        await write(opened, pilot, "x")
        await until(pilot, lambda: opened.session.call is not None and opened.session.call.pid)
        call = opened.session.call
        assert call is not None
        await pilot.press("escape")
        await until(pilot, call.ended.done)
        assert app.screen is app.held


def test_what_a_tokenizer_decides_is_no_difference(run: RunDir) -> None:
    """A configuration leaves the vocabulary open; the checkpoint knows it; the run's own settings know it too."""
    identity = read_info(run.checkpoints / "100").meta["identity"]
    assert identity["model"]["vocab_size"] == 384
    config = parse_config(TEXT, source="t").config
    assert differences(identity, settings_of(config)) == ()
    (found,) = differences(
        identity, settings_of(parse_config(TEXT.replace("16}", "16, vocab_size: 500}"), source="t").config)
    )
    assert (found.path, found.severity) == ("model.vocab_size", "incompatible")
    assert differences(identity, run.load_resolved()) == ()


def test_what_has_not_changed_is_not_read_twice(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(path: Path) -> Any:
        read.append(path.name)
        return read_info(path)

    monkeypatch.setattr(checkpointlist, "read_info", counting)
    reader = CheckpointReader()
    first = reader.read(run.path.parent, None, None)
    assert sorted(read) == ["100", "150", "50"]
    assert reader.read(run.path.parent, None, None) == first
    assert len(read) == 3
    (run.checkpoints / "100" / "tags.json").write_text('["x"]')
    found = reader.read(run.path.parent, None, Reference("r", {}))
    assert read[3:] == ["100"]
    assert next(row for row in found.rows if row.step == 100).tags == ("x",)


def test_a_plan_for_each_case(run: RunDir) -> None:
    rows = CheckpointReader().read(run.path.parent, run.path, None).rows
    plans = {row.step: plan_resume(row, rows) for row in rows}
    assert plans[150].set_aside == ()
    assert plans[50].set_aside == (100, 150)
    assert plans[50].accept == ("optim.lr",)
    assert plans[100].accept == ()
    assert all(plan.refusal is None and plan.last_step is None for plan in plans.values())


@pytest.mark.parametrize(
    ("text", "wrong"), [("", True), ("x", True), ("20", True), ("21", False), ("1_000", False), ("-5", True)]
)
def test_more_steps(text: str, wrong: bool) -> None:
    assert (more_steps_problem(text, 20) is not None) is wrong


async def test_what_is_as_before_is_not_painted_again(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(run, None)
    async with app.run_test(size=(160, 48)) as pilot:
        await filled(app, pilot, 3)
        later = time.time() + 50_000
        monkeypatch.setattr("chomp_tui.screens.list_screen.time.time", lambda: later)
        screen(app).draw()
        await pilot.pause(0.5)
        with paints(app, monkeypatch) as seen:
            screen(app).post_message(CheckpointsScreen.Changed(screen(app).found))
            # The interval itself would take seconds.
            screen(app)._tick()
            await pilot.pause(0.1)
            assert seen == []
            screen(app).set_context("something else")
            await until(pilot, lambda: seen)


async def test_the_best_is_one_of_those_that_were_judged_by_the_newest_text(tmp_path: Path) -> None:
    """A resume may evaluate other text: losses of before are no better for that."""
    made = make_run(tmp_path / "other")
    for step, loss, text in ((50, 1.0, "old"), (100, 3.0, "new"), (150, 3.5, "new")):
        make_checkpoint(made, step, eval_loss=loss, evaluated_texts={HELD_OUT: text})
    app = host(made, None)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(app, pilot, 3)
        starred = [line for line in frame(app) if "★" in line]
        assert len(starred) == 1
        assert "100" in starred[0]
