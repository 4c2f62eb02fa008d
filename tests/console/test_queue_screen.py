"""The queue on the screen: jobs, sweeps and trials, and adding a job from Configure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from chomp.errors import ChompError
from chomp.queue.adding import NewJob, add_job
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Attempt, Job
from chomp.record.rundir import RunDir
from chomp.sweep.folder import SweepFolder, Trial
from chomp.sweep.spec import Axis
from chomp_tui.screens.configure.queue_flow import options_of
from chomp_tui.screens.queue import actions
from chomp_tui.screens.queue.screen import QueueScreen
from chomp_tui.screens.queue.sweep_rows import strip
from chomp_tui.widgets.dialogs import Ask, Choose
from tests.console.hosting import SIZES, Host, console_state, frame, paints, until
from tests.console.test_configure import Console
from tests.fakeruns import HOSTILE, TEXT, append, phase, started

SPACE = """\
config: base.yaml
method: tpe
trials: 9
space:
  optim.lr: {log: [1e-4, 1e-1]}
  model.num_layers: {int: [1, 5]}
"""


@pytest.fixture
def queue(tmp_path: Path) -> QueueFolder:
    """A job that runs, two that wait, one that failed, a file of nonsense, and a sweep."""
    (tmp_path / "a.yaml").write_text(TEXT)
    queue = QueueFolder(tmp_path / "queue")
    for name in ("one", "two", "three", "four", "five"):
        job = NewJob(config=tmp_path / "a.yaml", name=name, runs=tmp_path / "runs", folder=tmp_path)
        number = add_job(queue, job).id
    (tmp_path / "runs" / "one").mkdir(parents=True)
    append(RunDir(tmp_path / "runs" / "one"), started(total_steps=200), phase("train"), t=time.time())
    began = the(queue, 1).added
    queue.change(1, state="running", attempts=[Attempt(began=began, devices=["cpu"], place="CPU")])
    queue.change(4, state="failed", reason=f"out of memory {HOSTILE}")
    queue.job_file(number).write_text("state: [")
    sweep = SweepFolder(tmp_path / "sweeps" / "rates")
    sweep.path.mkdir(parents=True)
    (sweep.path / "sweep.yaml").write_text(SPACE)
    trials = [
        Trial(
            number=n,
            values={"optim.lr": 10.0 ** (-n / 2 - 1), "model.num_layers": n % 5 + 1},
            job=99 if n == 2 else 1,
            score=3.0 - n / 9,
            state="pruned" if n == 2 else "complete",
            reason={1: "it was stopped", 2: "behind at step 200"}.get(n, ""),
            run_dir="runs/one" if n == 3 else None,
            step=200,
        )
        for n in range(4)
    ]
    sweep.write(trials)
    sweep.write_importance({"optim.lr": 0.75, "model.num_layers": 0.25}, "PED-ANOVA of 10 complete trials")
    return queue


def the(queue: QueueFolder, number: int) -> Job:
    found = queue.read().find(number)
    assert found is not None
    return found


def host(queue: QueueFolder, *, read_only: bool = False) -> Host:
    return Host(QueueScreen(), console_state(queue.around / "runs", Path("configs"), read_only=read_only))


def text(app: Host) -> str:
    return "\n".join(frame(app))


@pytest.mark.parametrize("size", SIZES)
async def test_jobs_and_sweeps_are_shown_and_changed_by_keys(
    queue: QueueFolder, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(queue)
    async with app.run_test(size=size) as pilot:
        wanted = ("● running", "two", "✗ failed", "‖ held", "no runner: s starts it", "rates", "job 1 (one)")
        await until(pilot, lambda: all(words in text(app) for words in wanted))
        assert "\x1b" not in text(app)
        await pilot.pause(0.2)
        with paints(app, monkeypatch) as painted:
            # The same queue again draws nothing.
            app.held.draw()  # type: ignore[attr-defined]
            await pilot.pause(0.05)
        assert painted == []
        await pilot.press("down", "J")
        await until(pilot, lambda: [job.name for job in queue.read().jobs][1:3] == ["three", "two"])
        await pilot.press("K")
        await until(pilot, lambda: [job.name for job in queue.read().jobs][1:3] == ["two", "three"])
        await pilot.press("u", "h")
        await until(pilot, lambda: (the(queue, 2).state, the(queue, 2).urgent) == ("held", True))
        await pilot.press("h")
        await until(pilot, lambda: the(queue, 2).state == "waiting")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("y")
        await until(pilot, lambda: queue.read().find(2) is None)
        await pilot.press("home", "h")
        await until(pilot, lambda: "no runner works: s starts it" in app.told)
        assert the(queue, 1).wish is None
        await pilot.press("enter")
        assert app.asked[-1] == ("open", queue.around / "runs" / "one")


@pytest.mark.parametrize("size", SIZES)
async def test_a_sweep_has_its_ranking_its_settings_and_each_trial_one_key_away(
    queue: QueueFolder, size: tuple[int, int]
) -> None:
    app = host(queue)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "rates" in text(app))
        await pilot.press("tab", "enter")
        wanted = ("Sweep rates", "2.6667", "pruned", "num_layers", "75%", "0.0001 ")
        await until(pilot, lambda: all(words in text(app) for words in wanted))
        # The best trial is the last one, which has a run; the job of the pruned one has left the queue.
        is_beside = size[0] >= 150
        await until(pilot, lambda: ("trial 3: job 1 (one)" in text(app)) == is_beside)
        if is_beside:
            await pilot.press("down")
            await until(pilot, lambda: "why it was stopped" in " ".join(text(app).split()))
            await pilot.press("end")
            await until(pilot, lambda: "trial 2 behind at step 200" in text(app))
            assert "job 99" not in text(app)
            await pilot.press("home")
        await pilot.press("enter")
        assert app.asked[-1] == ("open", queue.around / "runs" / "one")
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.told[-1].startswith("it has not been started"))
        await pilot.press("escape")
        await until(pilot, lambda: "● running" in text(app))


async def test_a_read_only_console_and_a_folder_of_others_change_nothing(queue: QueueFolder) -> None:
    app = host(queue, read_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "● running" in text(app))
        await pilot.press("down", "h", "d", "u", "J", "s")
        await pilot.pause(0.1)
        assert set(app.told) == {"this console is read-only"}
        assert [job.state for job in queue.read().jobs] == ["running", "waiting", "waiting", "failed"]


def test_a_strip_shows_the_best_trials_by_their_places() -> None:
    ranking = [
        Trial(number=1, values={"k": 0.01}, state="complete", score=1.0),
        Trial(number=2, values={"k": 0.1}, state="complete", score=2.0),
        Trial(number=0, values={"k": 0.001}, state="pruned"),
    ]
    assert strip("k", Axis(log=(0.001, 0.1)), ranking, 21).plain == "0.001 ·────1────2 0.1"
    assert strip("k", Axis(choice=("a", "b")), [], 16).plain == "a ──────────── b"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", {}),
        ("name base · for 8h · urgent", {"name": "base", "for_seconds": 28800.0, "urgent": True}),
        ("after 1 after two gpus 2", {"after": (1, 2), "gpus": 2}),
        ("tag rates · tag #b/2 restarts 0", {"tags": ("rates", "b/2"), "restarts": 0}),
        ("name x note  why: at 22:00 · or tag so ", {"name": "x", "note": "why: at 22:00 · or tag so"}),
        ("note only this", {"note": "only this"}),
    ],
)
def test_the_words_of_the_dialog(queue: QueueFolder, words: str, found: dict[str, Any]) -> None:
    assert options_of(words, queue.read()) == found


@pytest.mark.parametrize(
    "words",
    [
        "soon",
        "after",
        "after 99",
        "after nine",
        "for ever",
        "at noon",
        "gpus two",
        "tag",
        "tag y%",
        "note",
        "restarts -1",
    ],
)
def test_what_the_dialog_refuses(queue: QueueFolder, words: str) -> None:
    with pytest.raises(ChompError):
        options_of(words, queue.read())


def test_what_has_ended_has_no_place_in_the_order(queue: QueueFolder) -> None:
    said, is_done = actions.attempted(lambda: actions.move(queue, the(queue, 4), 1))
    assert (said, is_done) == ("job 4 (four) has ended: it has no place in the order", False)


async def test_f12_in_configure_adds_the_text_on_screen(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(console.app.screen, Ask))
        await pilot.press(*"for", "space", *"9h", "enter")
        await until(pilot, lambda: any("job 1 (small) added" in said for said in console.said))
    (job,) = QueueFolder(tmp_path / "queue").read().jobs
    assert "steps: 3000" in (job.config or "")
    assert "steps: 2000" in console.file.read_text()
    assert (job.for_seconds, job.runs, job.run_dir, console.launched) == (32400.0, "runs", None, [])
