"""A disk that fills up, goes read-only or refuses: said within a step, nothing lost, and an exit code that tells."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chomp.record.commands import Command, send_command
from chomp.record.event_log import read_events
from chomp.record.events import Checkpoint, Compiled, Event, RunEnded, Step, Warned
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import Engine, dummy_config, events_of, rows, wait_until, write_config, write_corpus
from tests.in_process import run
from tests.small_disk import Disk, mount

pytestmark = pytest.mark.process

ENDLESS = 1_000_000
FULL = "No space left on device"
NO_ROOM = re.compile(r"/\S+ has [\d,]+ bytes free, and a checkpoint needs 2,[\d,]+")


def failed(event: Event) -> bool:
    return isinstance(event, Checkpoint) and event.state == "failed"


def has_no_room(event: Event) -> bool:
    return isinstance(event, Checkpoint) and NO_ROOM.fullmatch(event.reason or "") is not None


def committed(event: Event) -> bool:
    return isinstance(event, Checkpoint) and event.state == "committed"


def warned_of_checkpoint(event: Event) -> bool:
    return isinstance(event, Warned) and event.topic == "checkpoint"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "run", 16)
    yield disk
    disk.close()


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration whose checkpoints take 2.5 MB."""
    corpus = write_corpus(tmp_path / "corpus")

    def configure(*, async_save: bool = True, steps: int = ENDLESS, save_every: int = 20) -> Path:
        config = dummy_config(
            corpus,
            model={"model_dim": 400},
            train={"steps": steps},
            checkpoint={"save_every": save_every, "max_to_keep": 2, "async_save": async_save},
        )
        return write_config(tmp_path / "config.yaml", config)

    return configure


def no_half_checkpoint(run_dir: Path) -> None:
    """All that `checkpoints/` holds is sealed and whole."""
    infos = list_checkpoints(run_dir / "checkpoints")
    assert [verify(info.path) for info in infos] == [[]] * len(infos)
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == sorted(str(info.step) for info in infos)


def steps_between(run_dir: Path, first: Event, second: Event) -> int:
    return sum(first.t <= row["t"] < second.t for row in rows(run_dir))


@pytest.mark.root
@pytest.mark.parametrize("async_save", [True, False], ids=["async", "sync"])
def test_a_full_disk_is_told_and_the_next_save_with_space_works(
    async_save: bool, disk: Disk, configure: Callable[..., Path]
) -> None:
    run_dir = disk.path
    engine = Engine(run_dir, "train", configure(async_save=async_save), "--run-dir", run_dir)
    good = engine.wait_for(committed)
    assert isinstance(good, Checkpoint), engine.text()
    disk.fill(leave=1_000_000)
    # A save that was under way while the disk filled up fails for itself; the next one is not begun.
    failure = engine.wait_for(has_no_room)
    assert isinstance(failure, Checkpoint), engine.text()
    assert failure.reason is not None
    assert str(run_dir / "checkpoints") in failure.reason
    warning = engine.wait_for(warned_of_checkpoint)
    assert isinstance(warning, Warned)
    assert warning.message == (
        f"step {failure.step} could not be saved ({failure.reason}); training continues and the next save tries again"
    )
    assert engine.wait_for(lambda event: isinstance(event, Step)) is not None, "training went on"
    disk.free()
    again = engine.wait_for(committed)
    assert isinstance(again, Checkpoint)
    assert again.step > failure.step > good.step
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 143, engine.text()
    events = read_events(run_dir / "events.jsonl")
    assert steps_between(run_dir, failure, warning) <= 2
    assert f"saving step {failure.step} failed: {failure.reason}" in engine.text()
    assert not any(
        isinstance(event, Checkpoint) and (event.state, event.step) == ("saving", failure.step) for event in events
    ), "a save without room was begun"
    assert "Traceback" not in engine.text()
    assert len(engine.text()) < 2_000 + 200 * len(rows(run_dir)), "the console is buried"
    no_half_checkpoint(run_dir)


@pytest.mark.root
def test_a_last_state_that_cannot_be_saved_is_exit_5_and_the_good_one_stays(
    disk: Disk, configure: Callable[..., Path]
) -> None:
    run_dir, path = disk.path, configure(save_every=30)
    engine = Engine(run_dir, "train", path, "--run-dir", run_dir)
    good = engine.wait_for(committed)
    assert isinstance(good, Checkpoint), engine.text()
    disk.fill(leave=1_000_000)
    engine.wait_for(failed)
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 5
    ended = events_of(run_dir, RunEnded)[-1]
    assert (ended.status, ended.exit_code) == ("crashed", 5)
    before, _, why = ended.reason.partition(": ")
    assert before == f"SIGTERM received, but step {ended.step} could not be saved"
    assert NO_ROOM.fullmatch(why)
    assert f"error: at step {ended.step}: {ended.reason}" in engine.text()
    assert "Traceback" not in engine.text()
    no_half_checkpoint(run_dir)
    newest = list_checkpoints(run_dir / "checkpoints")[-1].step
    assert newest >= good.step
    disk.free()
    resumed = run("train", path, "--run-dir", run_dir, "--resume", "latest", "-o", f"train.steps={newest + 5}")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed from step {newest}" in resumed.stdout
    assert [row["step"] for row in rows(run_dir)] == list(range(1, newest + 6))


@pytest.mark.root
def test_a_run_that_ends_on_a_full_disk_says_so_in_its_log(disk: Disk, configure: Callable[..., Path]) -> None:
    """Its last event has room that was kept; all that came before it and was not written waits for its turn."""
    run_dir = disk.path
    engine = Engine(run_dir, "train", configure(), "--run-dir", run_dir)
    assert engine.wait_for(committed) is not None, engine.text()
    assert (run_dir / "events.reserve").exists()
    disk.fill()
    wait_until(lambda: engine.text().count("could not be saved") > 2)
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 5, engine.text()
    (ended,) = events_of(run_dir, RunEnded)
    assert NO_ROOM.search(ended.reason)
    assert f"error: at step {ended.step}: {ended.reason}" in engine.text()
    assert not (run_dir / "events.reserve").exists()
    assert any(warned_of_checkpoint(event) for event in read_events(run_dir / "events.jsonl"))


@pytest.mark.root
def test_a_disk_without_room_for_the_first_checkpoint(disk: Disk, configure: Callable[..., Path]) -> None:
    """Found before the step is compiled, by the size of the arrays; the directory stays free for a run."""
    run_dir, path = disk.path, configure(steps=5)
    disk.fill(leave=1_000_000)
    refused = run("train", path, "--run-dir", run_dir)
    assert refused.returncode == 5
    (sentence,) = refused.stderr.splitlines()
    room = r"/\S+ has [\d,]+ bytes free, and a checkpoint has 3,[\d,]+ bytes before compression"
    assert re.match(f"error: no checkpoint can be saved: {room}; mend that, or choose another --run-dir", sentence)
    assert events_of(run_dir, Compiled) == []
    disk.free()
    done = run("train", path, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    no_half_checkpoint(run_dir)


@pytest.mark.root
def test_lines_wait_for_a_full_disk_and_none_is_torn(disk: Disk, configure: Callable[..., Path]) -> None:
    """Not one byte is left for the event log and the metrics; a pause lets the test look at them."""
    run_dir = disk.path
    engine = Engine(run_dir, "train", configure(save_every=0), "--run-dir", run_dir)
    assert engine.wait_for(lambda event: isinstance(event, Step) and event.row["step"] >= 50) is not None
    disk.fill()
    seen = (run_dir / "metrics.jsonl").stat().st_size
    before = engine.text().count("\nstep ")
    wait_until(lambda: engine.text().count("\nstep ") > before + 50)
    assert engine.process.poll() is None, engine.text()
    assert (run_dir / "metrics.jsonl").stat().st_size < seen + 2 * 4096, "the disk was meant to be full"
    shown = engine.text().count("\nstep ")
    disk.free()
    send_command(run_dir / "commands.jsonl", Command("stop"))
    assert engine.finish() == 0, engine.text()
    assert "Traceback" not in engine.text()
    numbers = [row["step"] for row in rows(run_dir)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= shown
    lines = (run_dir / "events.jsonl").read_bytes().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.root
def test_a_checkpoint_folder_that_goes_read_only(tmp_path: Path, configure: Callable[..., Path]) -> None:
    run_dir = tmp_path / "run"
    engine = Engine(run_dir, "train", configure(), "--run-dir", run_dir)
    assert engine.wait_for(committed) is not None, engine.text()
    folder = run_dir / "checkpoints"
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        failure = engine.wait_for(failed)
        assert isinstance(failure, Checkpoint)
        assert failure.reason is not None
        assert failure.reason.startswith("Read-only file system")
        engine.signal(signal.SIGINT)
        assert engine.finish() == 5, engine.text()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    no_half_checkpoint(run_dir)


@pytest.mark.root
def test_a_read_only_run_directory_is_refused_before_anything_is_built(
    disk: Disk, configure: Callable[..., Path]
) -> None:
    path = configure()
    mount("-o", "remount,ro", disk.path)
    done = run("train", path, "--run-dir", disk.path)
    assert done.returncode == 5
    assert done.stderr == f"error: cannot write the run directory {disk.path}: Read-only file system\n"


def test_a_run_directory_below_a_file(tmp_path: Path, configure: Callable[..., Path]) -> None:
    path = configure()
    (tmp_path / "file").write_text("mine")
    below = tmp_path / "file" / "run"
    for target, words in ((tmp_path / "file", "is a file; a run directory is needed"), (below, "Not a directory")):
        done = run("train", path, "--run-dir", target)
        assert done.returncode == 5
        assert done.stderr.startswith("error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_place_of_the_checkpoints(tmp_path: Path, configure: Callable[..., Path]) -> None:
    path, run_dir = configure(steps=5), tmp_path / "run"
    assert run("train", path, "--run-dir", run_dir).returncode == 0
    (run_dir / "checkpoints").rename(run_dir / "elsewhere")
    (run_dir / "checkpoints").write_text("")
    done = run("train", path, "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 5
    assert done.stderr == f"error: cannot write checkpoints to {run_dir / 'checkpoints'}: File exists\n"


def test_a_size_limit_that_comes_and_goes(tmp_path: Path, configure: Callable[..., Path]) -> None:
    """`ulimit -f`, set on the live process: every file of more than 200 kB fails."""
    run_dir, path = tmp_path / "run", configure()
    engine = Engine(run_dir, "train", path, "--run-dir", run_dir)
    good = engine.wait_for(committed)
    assert isinstance(good, Checkpoint), engine.text()
    before = resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    failure = engine.wait_for(failed)
    assert isinstance(failure, Checkpoint)
    assert failure.reason is not None
    assert failure.reason.startswith("File too large")
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, before)
    assert engine.wait_for(committed) is not None
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 143, engine.text()
    no_half_checkpoint(run_dir)
