"""The home screen: what is there at a glance, and where to go from it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from chomp.record.events import Step
from chomp.record.formatting import one_line, size
from chomp.record.lock import RunLock
from chomp.record.origin import Origin, write_origin
from chomp.record.rundir import RunDir
from chomp.record.status import Status
from chomp.record.summary import RunSummary
from chomp_tui.app import ChompApp
from chomp_tui.screens.home.screen import HomeScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.detail import Detail
from chomp_tui.widgets.dialogs import Choose
from chomp_tui.widgets.listing import Column, Listing, fit_columns, fit_text
from chomp_tui.widgets.run_detail import curve_lines, loss_picture, run_detail, setting_facts
from tests.console.hosting import SIZES, Host, console_state, frame, paints, until
from tests.fakeruns import append, ended, make_checkpoint, make_run

# Every size and key of a whole screen, in hundreds of frames.

WHY = "a loss that is not finite at step 21: lower optim.lr"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make_run(root / "finished", end=ended("completed", 20), age=50)
    make_run(root / "broken", end=ended("crashed", 20, WHY), age=60)
    make_run(root / "killed", age=70)
    return root


def host(runs: Path) -> Host:
    return Host(HomeScreen(), console_state(runs, Path("configs")))


def home(app: Host) -> HomeScreen:
    assert isinstance(app.held, HomeScreen)
    return app.held


def listing(app: Host) -> Listing:
    return home(app).query_one("#run-list", Listing)


def column(app: Host, title: str) -> list[str]:
    """One column of the list of runs; its title and its cells end below each other."""
    region = listing(app).region
    head, *rows = [line[region.x : region.right] for line in frame(app)[region.y : region.bottom]]
    end = head.index(title) + len(title)
    return [row[:end].split("  ")[-1].strip() for row in rows[: len(listing(app).keys)]]


async def filled(app: Host, pilot: Any, number: int) -> Listing:
    await until(pilot, lambda: home(app).is_mounted and len(listing(app).keys) == number)
    await pilot.pause()
    return listing(app)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [True, False])
async def test_the_state_of_every_run_at_a_glance(
    size: tuple[int, int], colour: bool, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    app = host(runs)
    async with app.run_test(size=size) as pilot:
        await filled(app, pilot, 3)
        text = frame(app)
        assert all(len(line) == size[0] for line in text)
        rows = {name: next(line for line in text if f"  {name}  " in line) for name in ("finished", "broken", "killed")}
        assert "✓ completed" in rows["finished"]
        assert "▸" in rows["finished"], "the selection shows without colour"
        assert "✗ crashed" in rows["broken"]
        assert "✗ crashed" in rows["killed"]
        for line in rows.values():
            assert "20/200" in line
            assert "4.2500" in line, "the best evaluation, at every width"
        if size[0] >= 120:
            assert all("4.0000" in line for line in rows.values())
            assert all(set(line) & set("▁▂▃▄▅▆▇█") for line in rows.values())
        assert any("quickstart.yaml" in line for line in text)
        assert app.no_color is not colour


async def test_a_wide_list_has_the_size_and_the_time_of_every_run(runs: Path) -> None:
    make_checkpoint(make_run(runs / "saved", age=400 * 86_400), 10)
    app = host(runs)
    async with app.run_test(size=(260, 60)) as pilot:
        await filled(app, pilot, 4)
        await until(pilot, lambda: not any("…" in line for line in column(app, "size")))
        sizes, times = column(app, "size"), column(app, "when")
        names = [Path(key).name for key in listing(app).keys]
        taken = [sum(one.stat().st_size for one in (runs / name).rglob("*") if one.is_file()) for name in names]
        assert sizes == [size(number) for number in taken]
        assert names[-1] == "saved"
        assert len(set(sizes)) > 1
        assert times[-1] == str(time.localtime(time.time() - 400 * 86_400).tm_year)
        assert all(re.fullmatch(r"\d\d:\d\d|[A-Z][a-z]{2} \d+", one) for one in times[:-1]), times


async def test_the_detail_is_laid_out_anew_when_its_panel_gets_another_width(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(runs)
    async with app.run_test(size=(160, 48)) as pilot:
        await filled(app, pilot, 3)
        facts = home(app).query_one("#list-facts", Detail)
        losses, lines = home(app).found.runs[0].losses, curve_lines(home(app).height_beside)
        curve = str(loss_picture(losses, facts.size.width, lines)[0])
        await until(pilot, lambda: curve in str(facts.content))
        # Neither the clock nor the screen's own size leads to it.
        monkeypatch.setattr(HomeScreen, "_tick", lambda self: None)
        facts.styles.width = 30
        curve = str(loss_picture(losses, 30, lines)[0])
        await until(pilot, lambda: curve in str(facts.content), seconds=3)


def test_the_detail_says_more_beside_the_list_than_below_it() -> None:
    settings = {
        "model.backend": "llama",
        "model.num_layers": 1,
        "model.model_dim": 64,
        "train.batch_size": 4,
        "train.seq_len": 256,
        "train.grad_accum": 2,
        "optim.lr": 1e-3,
        "data.backend": "mixture",
        "data.mixture.sources.web.weight": 1.0,
        "data.mixture.sources.code.weight": 2.0,
    }
    run = RunSummary(
        "one",
        Path("runs/one"),
        Status("completed", "✓", "good", ""),
        losses=(4.0, 3.0),
        sample="def f():\n    pass",
        settings=settings,
        metrics={"tokens_per_sec": 1234.5, "mfu": 0.4},
    )
    beside, below = (run_detail(run, 0.0, 60, height).plain for height in (44, 0))
    for line in (
        "loss    4.0000 → 3.0000",
        "speed   1,234 tokens/s · MFU 40.0%",
        "model   llama, 1 layer of 64",
        "batch   2 × 4 × 256 tokens",
        "update  lr 0.001",
        "text    mixture of web, code",
    ):
        assert f"\n{line}\n" in f"\n{beside}\n"
        assert line not in below
    assert beside.endswith("newest sample\ndef f():\n    pass")
    assert below.endswith("sample  def f(): pass")


@pytest.mark.parametrize("value", [None, "a {b} [c]", [1], True, 10**40, float("inf")])
def test_settings_of_any_kind_are_shown(value: object) -> None:
    numbers = ("model.num_layers", "model.model_dim", "train.batch_size", "train.seq_len", "train.seed", "optim.lr")
    for path in (*numbers, "train.grad_accum", "derived.train.grad_accum", "optim.warmup_steps", "model.backend"):
        settings: dict[str, object] = {**dict.fromkeys(numbers, 2), path: value}
        assert dict(setting_facts(settings)).keys() == {"model", "batch", "update", "text"}
    accumulated = {"train.batch_size": 4, "train.seq_len": 8, "train.grad_accum": None, "derived.train.grad_accum": 3}
    assert ("batch", "3 × 4 × 8 tokens") in setting_facts(accumulated)


async def test_why_it_crashed_in_words(runs: Path) -> None:
    app = host(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("down")
        await until(pilot, lambda: WHY in "\n".join(frame(app)))
        await pilot.press("down")
        await until(pilot, lambda: "the engine ended without a last event" in "\n".join(frame(app)))
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: any("broken" in line and "a loss that is" in line for line in frame(app)))


async def test_the_selection_stays_on_its_run_when_the_list_is_sorted_anew(runs: Path) -> None:
    app = host(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        table = await filled(app, pilot, 3)
        await pilot.press("end")
        assert table.selected == str(runs / "killed")
        append(RunDir(runs / "broken"), Step(row={"step": 21, "loss": 3.0}))
        make_run(runs / "newest", age=1)
        home(app).look_now()
        await until(pilot, lambda: len(table.keys) == 4)
        assert [Path(key).name for key in table.keys] == ["broken", "newest", "finished", "killed"]
        assert table.selected == str(runs / "killed")
        assert any("▸" in line and "killed" in line for line in frame(app))
        (runs / "killed").rename(runs / ".gone")
        home(app).look_now()
        await until(pilot, lambda: len(table.keys) == 3)
        assert table.selected == str(runs / "finished"), "the row that took its place"


async def test_only_changed_rows_are_drawn_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        table = await filled(app, pilot, 3)
        monkeypatch.setattr("chomp_tui.screens.list_screen.time.time", lambda: 0.0)
        home(app).draw()
        drawn: list[int] = []
        monkeypatch.setattr(table, "refresh_line", drawn.append)
        home(app).draw()
        assert drawn == []
        append(RunDir(runs / "killed"), Step(row={"step": 21, "loss": 3.0}), t=1.0)
        home(app).look_now()
        await until(pilot, lambda: drawn)
        assert drawn == [1 + table.keys.index(str(runs / "killed"))]


async def test_keys_and_clicks_lead_on(runs: Path) -> None:
    app = host(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        table = await filled(app, pilot, 3)
        await pilot.press("r")
        assert app.asked == []
        assert app.told == ["finished has no checkpoint to resume from"]
        app.told.clear()
        make_checkpoint(RunDir(runs / "finished"), 10)
        home(app).look_now()
        await until(pilot, lambda: home(app).run_summary().checkpoints)  # type: ignore[union-attr]
        await pilot.press("enter", "n", "r")
        finished = runs / "finished"
        assert app.asked == [("open", finished), ("edit", finished, None), ("checkpoints", finished)]
        app.asked.clear()
        await pilot.press("tab", "end", "enter", "n", "r")
        last = max(Path("configs").glob("*.yaml"))
        assert app.asked == [("edit", last, None), ("edit", last, None)]
        assert app.told == ["select a run first (Tab moves between the lists)"]
        app.asked.clear()
        await pilot.click(table, offset=(20, 2))
        assert table.selected == str(runs / "broken")
        assert app.asked == []
        await pilot.click(table, offset=(20, 2), times=2)
        assert app.asked == [("open", runs / "broken")]


async def test_no_runs_yet_says_how_to_start(tmp_path: Path) -> None:
    app = host(tmp_path / "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No runs yet" in "\n".join(frame(app)))
        assert any("▸" in line and "quickstart.yaml" in line for line in frame(app))
        await pilot.press("enter")
        assert app.asked == [("edit", Path("configs/quickstart.yaml"), None)]
        make_run(tmp_path / "runs" / "one")
        home(app).look_now()
        await until(pilot, lambda: any("one" in line and "crashed" in line for line in frame(app)))
        assert "No runs yet" not in "\n".join(frame(app))


async def test_filter_by_name_and_the_thread_ends_with_the_console(runs: Path) -> None:
    app = host(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await filled(app, pilot, 3)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "run list"]
        assert thread.daemon
        await pilot.press("slash", *"KIL")
        await until(pilot, lambda: [Path(key).name for key in table.keys] == ["killed"])
        await pilot.press("q")
        assert home(app).query_one(Input).value == "KILq", "letters are letters while one types"
        await until(pilot, lambda: "none of 3 runs is chosen by “KILq”; Esc shows all" in "\n".join(frame(app)))
        await pilot.press("backspace", "enter", "enter")
        assert app.asked == [("open", runs / "killed")]
        await pilot.press("escape")
        await until(pilot, lambda: len(table.keys) == 3)
        assert not home(app).query_one(Input).display
    thread.join(10)
    assert not thread.is_alive()


async def ask_to_delete(app: Host, pilot: Any) -> str:
    await pilot.press("d")
    await until(pilot, lambda: isinstance(app.screen, Choose))
    await pilot.pause()
    return "\n".join(frame(app))


async def test_delete_asks_first_and_deletes_only_what_no_engine_uses(runs: Path) -> None:
    run = make_run(runs / "live", age=2).path
    make_checkpoint(make_run(runs / "other", age=1), 10)
    app = host(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 5)
        await until(pilot, lambda: home(app).run_summary().bytes is not None)  # type: ignore[union-attr]
        text = await ask_to_delete(app, pilot)
        assert "Delete other?" in text
        assert "1 checkpoint, " in text
        assert "KiB" in text
        assert app.screen.query_one(OptionList).highlighted == 0
        await pilot.press("enter")
        assert (runs / "other").exists()
        await ask_to_delete(app, pilot)
        await pilot.press("y")
        await until(pilot, lambda: not (runs / "other").exists() and len(listing(app).keys) == 4)
        assert sorted(path.name for path in runs.iterdir()) == ["broken", "finished", "killed", "live"]
        assert app.told == [f"deleted {runs / 'other'}"]
        assert listing(app).selected == str(run)

        # A run that came to life while the question was open.
        app.told.clear()
        await ask_to_delete(app, pilot)
        lock = RunLock(run / "lock")
        lock.acquire()
        await pilot.press("y")
        await until(pilot, lambda: app.told)
        assert "is in use by pid" in app.told[0]
        assert run.exists()
        home(app).look_now()
        await until(pilot, lambda: any("● " in line and "live" in line for line in frame(app)))

        for read_only, sentence in (
            (False, f"live is running (pid {os.getpid()}): stop it first"),
            (True, "this console is read-only"),
        ):
            app.told.clear()
            app.state.read_only = read_only
            await pilot.press("d")
            await pilot.pause()
            assert app.screen is app.held
            assert app.told == [sentence]
        lock.release()


async def test_where_it_lies(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    opened: list[list[str]] = []
    app = host(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 3)
        await pilot.press("o")
        assert app.told == [f"{runs / 'finished'} (copied, where the terminal allows it)"]
        assert app.clipboard == str(runs / "finished")
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr("chomp_tui.screens.home.open_folder.shutil.which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(subprocess, "Popen", lambda args, **_: opened.append(args))
        await pilot.press("o")
        assert opened == [["/usr/bin/xdg-open", str(runs / "finished")]]


async def test_foreign_text_is_shown_literally(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = make_run(root / "x\x1b[31m[bold red]y", end=ended("crashed", 20, "\x1b[2J[@click=app.quit]x[/]"))
    run.samples.write_text('{"step": 1, "prompt": "[red]", "text": "\\u001b]0;owned\\u0007\\u202e"}\n')
    write_origin(run, Origin("[b]base", "/runs/\x1bbase", 10, "d", 1.0))
    app = host(root)
    async with app.run_test(size=(200, 60)) as pilot:
        await filled(app, pilot, 1)
        text = "\n".join(frame(app))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "x�[31m[bold red]y" in text
        assert "�[2J[@click=app.quit]x[/]" in text
        assert "from step 10 of [b]base" in text


async def test_in_the_real_console(runs: Path, tmp_path: Path) -> None:
    make_checkpoint(RunDir(runs / "finished"), 10)
    settings = Settings(path=tmp_path / "console.yaml")
    app = ChompApp(ConsoleState(settings, runs=runs, configs=Path("configs")))
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.screen_of("home")
        await until(pilot, lambda: table.is_mounted and len(table.query_one("#run-list", Listing).keys) == 3)
        await pilot.press("r")
        await until(pilot, lambda: app.screen is app.checkpoints_screen and "step 10" in "\n".join(frame(app)))
        await pilot.press("escape")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.screen_of("home"))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.run_screen)
        await pilot.press("1")
        await until(pilot, lambda: app.screen is app.screen_of("home"))


COLUMNS = (
    Column("a", "a", 5),
    Column("b", "b", 10, grow=1, rank=1),
    Column("c", "c", 10, grow=3, rank=2),
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (100, [("a", 5), ("b", 27), ("c", 61)]),
        (31, [("a", 5), ("b", 10), ("c", 10)]),
        (30, [("a", 5), ("b", 21)]),
        (18, [("a", 5)]),
        (1, [("a", 5)]),
    ],
)
def test_columns_are_chosen_by_width(width: int, expected: list[tuple[str, int]]) -> None:
    assert [(column.key, room) for column, room in fit_columns(COLUMNS, width)] == expected


def test_names_are_whole_before_anything_else_grows() -> None:
    shown = (Column("name", "", 10, grow=1, whole=True), Column("why", "", 10, grow=4))

    def widths(width: int, longest: int, columns: tuple[Column, ...] = shown) -> list[int]:
        return [room for _, room in fit_columns(columns, width, {"name": longest})]

    assert widths(24, 30) == [10, 10]
    assert widths(34, 30) == [20, 10]
    assert widths(50, 30) == [30, 16]
    assert widths(50, 4) == [4, 42]
    assert widths(50, 12, shown[:1]) == [48], "no other column has a use for it"


async def test_a_long_name_is_not_cut_where_there_is_room(tmp_path: Path) -> None:
    name = "quickstart-cpu-fork-20261128-151249"
    make_run(tmp_path / "runs" / name, end=ended("stopped", 20, "stop requested"))
    app = host(tmp_path / "runs")
    async with app.run_test(size=(160, 48)) as pilot:
        table = await filled(app, pilot, 1)
        assert name in "".join(segment.text for segment in table.render_line(1))


@pytest.mark.parametrize(
    ("text", "width", "middle", "expected"),
    [
        ("abcdef", 6, False, "abcdef"),
        ("abcdef", 5, False, "abcd…"),
        ("abcdefghij", 7, True, "ab…ghij"),
        ("漢字漢字", 5, False, "漢字…"),
        ("abc", 1, True, "…"),
        ("abc", 0, False, ""),
    ],
)
def test_a_text_that_is_too_long(text: str, width: int, middle: bool, expected: str) -> None:
    assert fit_text(text, width, middle=middle) == expected


def test_a_text_of_one_line_keeps_columns_and_steers_no_terminal() -> None:
    assert one_line("\n  lr   3e-4\n\n    why\tnot\x1b[2J \n") == "  lr   3e-4 why not�[2J "


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_as_before_is_not_painted_again(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    make_run(root / "[old]", end=ended("crashed", 20, WHY), age=50_000)
    app = host(root)
    async with app.run_test(size=size) as pilot:
        await filled(app, pilot, 1)
        screen = home(app)
        await until(pilot, lambda: (run := screen.run_summary()) and run.bytes is not None)
        # What led here may still be on its way to the terminal, and later ones still are read by the thread.
        for _ in range(20):
            with paints(app, monkeypatch) as earlier:
                await pilot.pause(0.5)
            if not earlier:
                break
        with paints(app, monkeypatch) as seen:
            for _ in range(2):
                screen.post_message(HomeScreen.Changed(screen.found))
                # The interval itself would take seconds.
                screen._tick()
                await pilot.pause(0.1)
            assert seen == []
            screen.set_context("something else")
            await until(pilot, lambda: seen)
