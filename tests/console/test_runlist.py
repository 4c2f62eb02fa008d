"""The list of runs is read in a thread, only where something changed, and told only when something changed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from chomp.record.events import Step
from chomp.record.lock import RunLock
from chomp.record.summary import SummaryReader
from chomp_tui.live.run_list import HomeSnapshot, RunList, folder_bytes, read_header
from tests.fakeruns import append, ended, make_checkpoint, make_run, started


class Deliveries:
    """Waits for snapshots."""

    def __init__(self) -> None:
        self.seen: list[HomeSnapshot] = []
        self._came = threading.Condition()

    def __call__(self, listing: HomeSnapshot) -> None:
        with self._came:
            self.seen.append(listing)
            self._came.notify_all()

    def wait(self, number: int) -> HomeSnapshot:
        with self._came:
            assert self._came.wait_for(lambda: len(self.seen) >= number, timeout=20), self.seen
            return self.seen[-1]


def test_live_runs_first_then_by_age(tmp_path: Path) -> None:
    make_run(tmp_path / "old", end=ended("completed", 20), age=500)
    make_run(tmp_path / "new", end=ended("completed", 20), age=5)
    live = make_run(tmp_path / "live", age=900)
    lock = RunLock(live.lock)
    lock.acquire()
    names = [run.name for run in RunList(tmp_path, tmp_path, print).read().runs]
    lock.release()
    assert names == ["live", "new", "old"]


def test_two_live_runs_keep_their_places(tmp_path: Path) -> None:
    """Each has the newest event in turn; rows that swap places under the cursor would be a trap."""
    runs = [make_run(tmp_path / name, age=age) for name, age in (("a", 50), ("b", 40))]
    locks = [RunLock(run.lock) for run in runs]
    for lock in locks:
        lock.acquire()
    runlist = RunList(tmp_path, tmp_path, print)
    for run in (*runs, *runs):
        append(run, Step(row={"step": 21, "loss": 1.0}))
        assert [found.name for found in runlist.read().runs] == ["b", "a"]
    for lock in locks:
        lock.release()


def test_only_changed_runs_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other")
    caught_up: list[str] = []
    # Private: what is read again gives the same summary.
    original = SummaryReader._catch_up

    def counting(self: SummaryReader) -> None:
        caught_up.append(self.path.name)
        original(self)

    monkeypatch.setattr(SummaryReader, "_catch_up", counting)
    runlist = RunList(tmp_path, tmp_path, print)
    first = runlist.read()
    assert sorted(caught_up) == ["one", "other"]
    assert runlist.read() == first
    assert sorted(caught_up) == ["one", "other"]
    append(other, Step(row={"step": 21, "loss": 1.5}))
    found = {run.name: run for run in runlist.read().runs}
    assert caught_up[2:] == ["other"]
    assert (found["other"].step, found["other"].loss) == (21, 1.5)
    make_checkpoint(one, 10)
    found = {run.name: run for run in runlist.read().runs}
    assert found["one"].checkpoints == (10,)


def test_the_thread_tells_of_changes_only_and_adds_up_sizes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "one")
    deliveries = Deliveries()
    runlist = RunList(tmp_path / "runs", tmp_path, deliveries, interval_seconds=0.01)
    runlist.start()
    listing = deliveries.wait(2)
    assert listing.runs[0].bytes == folder_bytes(run.path) > 0
    append(run, started(20, total_steps=300), t=time.time())
    assert deliveries.wait(3).runs[0].total_steps == 300
    runlist.stop()
    assert len(deliveries.seen) == 3
    assert [listing.runs[0].bytes is None for listing in deliveries.seen[:2]] == [True, False]


def test_a_folder_that_comes_and_goes(tmp_path: Path) -> None:
    runlist = RunList(tmp_path / "runs", tmp_path / "configs", print)
    assert runlist.read() == HomeSnapshot()
    run = make_run(tmp_path / "runs" / "one")
    assert len(runlist.read().runs) == 1
    run.path.rename(tmp_path / "runs" / ".hidden")
    assert runlist.read().runs == ()


def test_a_run_that_cannot_be_read_is_listed_as_such(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    run.events.unlink()
    run.events.mkdir()
    make_run(tmp_path / "two")
    found = {summary.name: summary for summary in RunList(tmp_path, tmp_path, print).read().runs}
    assert found["one"].status.state == "unreadable"
    assert found["one"].status.reason == f"{run.events} cannot be read: Is a directory"
    assert found["two"].status.state == "crashed"


@pytest.mark.parametrize(
    ("text", "purpose", "hardware"),
    [
        (
            "# Purpose    Two\n#            lines.\n# Hardware   A box.\n#\n# Batch   8\n\ntrain: {}\n",
            "Two lines.",
            "A box.",
        ),
        ("# In words of my own.\n# And more.\ntrain: {}\n", "In words of my own.", ""),
        ("train: {}\n# Purpose   too late\n", "", ""),
        ("", "", ""),
        ("\x00\x1b[31m", "", ""),
    ],
)
def test_what_a_configuration_is_for(text: str, purpose: str, hardware: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    entry = read_header(tmp_path / "c.yaml")
    assert (entry.purpose, entry.hardware) == (purpose, hardware)


def test_the_shipped_configurations_say_what_they_are_for() -> None:
    entries = RunList(Path("nowhere"), Path("configs"), print).read().configs
    assert {entry.path.name for entry in entries} >= {"quickstart.yaml", "debug_smoke.yaml"}
    for entry in entries:
        assert entry.purpose.endswith("."), entry
        assert entry.hardware, entry
        assert entry.wall_time, entry
