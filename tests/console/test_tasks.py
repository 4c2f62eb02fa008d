"""The tasks of docs/console.md, each by the keys that its table names and no others; written records, no engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from textual.pilot import Pilot

from chomp.queue.folder import QueueFolder
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.screens.home.screen import HomeScreen
from chomp_tui.screens.preview.dialog import PreviewDialog
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.listing import Listing
from tests.console.fakehelper import fake_helper
from tests.console.gallery import ENGINE
from tests.console.hosting import frame, until
from tests.console.test_configure import KEYS, Console
from tests.console.test_leaderboard import names, write_thirty
from tests.fakeruns import FakeRun, write_run

PAGE = Path(__file__).parents[2] / "docs" / "console.md"
# Task, screen, keys, their number.
ROW = re.compile(r"^\| ([^|]+) \| [^|]+ \| ([^|]*`[^|]*) \| (\d+) \|$", re.MULTILINE)
# As the page writes keys, and as Textual names them; anything else is typed letter by letter.
NAMED = {"Enter": "enter", "Space": "space", "←": "left", "↓": "down"} | {f"F{n}": f"f{n}" for n in range(1, 13)}


def pressed(text: str) -> list[str]:
    """One part of a row: the name of a key, or a text to type."""
    if text in NAMED:
        return [NAMED[text]]
    if text.startswith("Ctrl+"):
        return [text.lower()]
    return [KEYS.get(letter, letter) for letter in text]


def tasks() -> dict[str, tuple[list[str], int]]:
    """By the words of a task its keys, and how many the page says that they are."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## Tasks and their keys\n")
    rows = ROW.findall(section.partition("\n## ")[0])
    return {
        task: ([key for part in re.findall(r"`([^`]+)`", keys) for key in pressed(part)], int(number))
        for task, keys, number in rows
    }


Check = Callable[[], object]


class Journey:
    """A console with thirty runs, and what each task must have changed."""

    def __init__(self, folder: Path) -> None:
        self.console = Console(folder, "data:\n  backend: stdlib\noptim:\n  lr: 1e-4\n")
        self.app, self.folder = self.console.app, folder
        self.app.state.helper = fake_helper(ENGINE)
        write_thirty(folder / "runs")
        self.spiky = folder / "other" / "spiky"
        write_run(self.spiky, FakeRun(steps=3_000, total=3_000, ending="completed"))

    @property
    def home(self) -> HomeScreen:
        screen = self.app.screen_of("home")
        assert isinstance(screen, HomeScreen)
        return screen

    @property
    def listing(self) -> Listing:
        return self.home.query_one("#run-list", Listing)

    def seen(self) -> str:
        return "\n".join(frame(self.app))

    def text(self) -> str:
        return self.console.file.read_text()

    async def begin(self, pilot: Pilot[None], start: str) -> None:
        """Go to a screen as one finds it: nothing filtered, nothing edited."""
        if start == "configure":
            await self.console.open(pilot)
        elif start == "run":
            self.app.open_run(self.spiky)
            await until(pilot, lambda: "3,000/3,000" in self.seen())
        else:
            await self.app.switch_mode("home")
            await pilot.press("escape", "escape")
            await until(pilot, lambda: self.home.is_ready and len(self.listing.keys) == 30)
            self.listing.select(str(self.folder / "runs" / start))

    def chart(self) -> LineChart:
        return self.app.run_screen.query_one("#loss", LineChart)

    # What must be so after the keys ----------------------------------------------------

    def rate_is_launched(self) -> bool:
        return "lr: 1e-3" in self.text() and [one.config for one in self.console.launched] == [self.console.file]

    def files_are_read(self) -> bool:
        data = yaml.safe_load(self.console.screen.document.text)["data"]
        return data == {"backend": "files", "files": ["notes/*.md"]}

    def batch_is_shown(self) -> bool:
        return isinstance(self.app.screen, PreviewDialog) and "⟦1⟧" in self.seen()

    def job_waits(self) -> bool:
        jobs = QueueFolder(self.folder / "queue").read().jobs
        times = [job.not_before.astimezone() for job in jobs if job.not_before is not None]
        return [(one.hour, one.minute) for one in times] == [(22, 0)] and times[0] > datetime.now().astimezone()

    def best_is_first(self) -> bool:
        return names(self.listing)[:3] == ["better", "run-07", "same"]

    def rates_are_filtered(self) -> bool:
        found = names(self.listing)
        return set(found) == {f"run-{number}" for number in range(10, 28)}

    def fork_is_compared(self) -> bool:
        wanted = "better", "run-07", "same batches after step 50"
        return isinstance(self.app.screen, CompareScreen) and all(words in self.seen() for words in wanted)

    def ten_are_deleted(self) -> bool:
        left = {one.name for one in (self.folder / "runs").iterdir()}
        return not any(name.startswith("run-0") for name in left) and len(self.home.found.runs) == len(left) == 20

    def spike_is_near(self) -> bool:
        cross, (left, right) = self.chart().cross, self.chart().window.span(10, 3_000)
        return cross is not None and left < cross < right < 3_000 and right - left == 2_990 / 4

    def samples_are_beside(self) -> bool:
        return self.seen().count("# step ") == 2


def journey_of(found: Journey) -> dict[str, tuple[str, Check]]:
    """By the words of a task where it begins, and what must be so after it; tasks follow each other in this order."""
    return {
        "find the best of thirty runs": ("home", found.best_is_first),
        "see only runs with a learning rate above 1e-3": ("home", found.rates_are_filtered),
        "compare a fork with its parent": ("better", found.fork_is_compared),
        "delete ten runs": ("home", found.ten_are_deleted),
        "look at an old spike": ("run", found.spike_is_near),
        "compare two samples": ("run", found.samples_are_beside),
        "see what the model is fed": ("configure", found.batch_is_shown),
        "queue a run for 22:00": ("configure", found.job_waits),
        "another learning rate, saved and launched": ("configure", found.rate_is_launched),
        "train on the text `notes/*.md`": ("configure", found.files_are_read),
    }


async def test_every_task_needs_the_keys_that_the_page_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, written = Journey(tmp_path), tasks()
    checks = journey_of(found)
    assert set(written) == set(checks)
    async with found.app.run_test(size=(120, 40)) as pilot:
        for task, (start, check) in checks.items():
            keys, number = written[task]
            assert len(keys) == number, task
            await found.begin(pilot, start)
            assert not check(), task
            await pilot.press(*keys)
            await until(pilot, check)
            await pilot.press("escape")
