"""Two processes that train one run: one writer, common ends, and a name for what is lost."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from chomp.record.events import Acknowledged, Event, RunEnded, RunStarted
from tests import engine
from tests.engine import at_phase, at_step, events_of, exact_rows, slow_dummy_config, while_saving, write_config
from tests.parallel.group import Group
from tests.references import References
from tests.small_disk import Disk

TRAIN = {"steps": 40, "batch_size": 2, "grad_accum": 2, "eval_every": 8}
STOPPED = 128 + signal.SIGTERM

MOMENTS: dict[str, engine.Instant] = {
    "compile": at_phase("compile"),
    "step": at_step(5),
    "eval": at_phase("eval"),
    "save": while_saving(10),
}


def configured(folder: Path, corpus: Path, **sections: dict[str, Any]) -> Path:
    train = TRAIN | sections.pop("train", {})
    sections.setdefault("parallel", {"lost_after_seconds": 5.0})
    return write_config(folder / "config.yaml", slow_dummy_config(corpus, train=train, **sections))


@pytest.fixture
def corpus(references: References) -> Path:
    return references.folder("processes-text", engine.write_corpus)


@pytest.fixture
def whole(references: References, corpus: Path) -> Path:
    """An uninterrupted run of two processes."""

    def train(folder: Path) -> None:
        with Group(folder / "run", configured(folder, corpus)) as group:
            assert group.finish() == [0, 0], group.texts()

    return references.folder("processes", train) / "run"


def resume(run_dir: Path) -> None:
    with Group(run_dir, "--resume", "latest") as group:
        assert group.finish() == [0, 0], group.texts()


def stop_at(moment: str, index: int, folder: Path, corpus: Path) -> Path:
    """A run whose process `index` got SIGTERM; both processes have saved once and left with its exit code."""
    with Group(folder / "run", configured(folder, corpus)) as group:
        group.wait_for(MOMENTS[moment])
        group.strike(index, signal.SIGTERM)
        assert group.finish(10) == [STOPPED, STOPPED], group.texts()
        end = group.end()
    assert (end.status, end.exit_code) == ("stopped", STOPPED)
    assert end.reason == f"SIGTERM received; step {end.step} is saved"
    return folder / "run"


def test_a_stopped_run_continues_exactly_and_the_leader_alone_writes(tmp_path: Path, corpus: Path, whole: Path) -> None:
    run_dir = stop_at("eval", 1, tmp_path, corpus)
    resume(run_dir)
    assert exact_rows(run_dir) == exact_rows(whole)
    assert [event.attempt for event in events_of(run_dir, RunStarted)] == [1, 2]
    assert {path.name for path in run_dir.iterdir()} == {
        "checkpoints", "config_original.yaml", "config_resolved.json", "events.jsonl", "lock", "metrics.jsonl",
        "tokenizer", "train.1.log", "train.log",
    }  # fmt: skip
    assert "Gloo" in (run_dir / "train.1.log").read_text()


def test_commands_are_obeyed_by_both(tmp_path: Path, corpus: Path) -> None:
    with Group(tmp_path / "run", configured(tmp_path, corpus, train={"steps": 100_000})) as group:
        group.wait_for(at_step(3))
        for command in ("pause", "eval", "sample", "save", "resume", "stop"):
            done = engine.run("ctl", group.run_dir, command)
            assert done.returncode == 0, done.stderr
        assert group.finish() == [0, 0], group.texts()
        # What the others say is in their logs; the leader prints no lines of libraries either.
        assert group.texts()[1] == ""
        assert "Gloo" not in group.texts()[0]
    answers = events_of(group.run_dir, Acknowledged)
    assert [answer.ok for answer in answers] == [True] * 6
    assert group.end().reason == f"stop requested; step {group.end().step} is saved"


def kill(group: Group, index: int, step: int) -> None:
    """Kill a process after a step: the other one names it and ends the run."""
    group.wait_for(at_step(step))
    group.strike(index, signal.SIGKILL)
    codes = group.finish(20)
    assert (codes[index], codes[1 - index]) == (-signal.SIGKILL, 7), group.texts()
    named = f"process {index} (pid {group.engines[index].process.pid} on "
    end = group.end()
    assert (end.status, end.exit_code) == ("crashed", 7)
    assert named in end.reason
    assert "--resume latest` in every process continues the run" in end.reason
    assert named in group.texts()[1 - index]


def test_a_killed_process_is_named_and_the_run_continues_exactly(tmp_path: Path, corpus: Path, whole: Path) -> None:
    with Group(tmp_path / "run", configured(tmp_path, corpus)) as group:
        kill(group, 1, 12)
    with Group(tmp_path / "run", "--resume", "latest") as group:
        kill(group, 0, 24)
    resume(group.run_dir)
    assert exact_rows(group.run_dir) == exact_rows(whole)


@pytest.mark.parametrize("index", [1, pytest.param(0, marks=pytest.mark.soak)])
def test_a_process_that_cannot_write_its_part_is_named(index: int, tmp_path: Path, corpus: Path) -> None:
    """Where that is the leader, it cannot write the end of the run either: the other one does."""
    with Group(tmp_path / "run", configured(tmp_path, corpus, train={"steps": 100_000})) as group:
        group.wait_for(at_step(3))
        resource.prlimit(group.engines[index].process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        codes = group.finish(20)
        assert set(codes) <= {5, 7}, group.texts()
        pid = group.engines[index].process.pid
        assert f"step 5 could not be saved: process {index} (pid {pid} on " in group.end().reason
        assert len(events_of(group.run_dir, RunEnded)) == 1


@pytest.mark.root
@pytest.mark.parametrize(
    ("index", "codes"), [(1, [5, 5]), pytest.param(0, [-signal.SIGKILL, 7], marks=pytest.mark.soak)]
)
def test_the_end_of_a_run_whose_disk_is_full_for_all(
    index: int, codes: list[int], tmp_path: Path, corpus: Path
) -> None:
    """A stop through one process is told by the leader, and the death of the leader by the other one."""
    disk = Disk(tmp_path / "run", 16)
    try:
        with Group(disk.path, configured(tmp_path, corpus, train={"steps": 100_000})) as group:
            group.wait_for(at_step(6))
            disk.fill()
            group.strike(index, signal.SIGTERM if index else signal.SIGKILL)
            assert group.finish(40) == codes, group.texts()
            (end,) = events_of(disk.path, RunEnded)
        assert end.exit_code == codes[1]
        # A save that had begun ran into the full disk; a later one is not begun.
        assert re.search("No space left on device|has 0 bytes free" if index else r"process 0 \(pid ", end.reason)
        assert end.reason in group.texts()[1]
    finally:
        disk.close()


def two_folders(folder: Path) -> tuple[Path, list[Path]]:
    """A configuration whose text is in the folder in which a process works, and two such folders."""
    folders = [folder / "host0", folder / "host1"]
    for each in folders:
        engine.write_corpus(each / "text")
    data = {"files": ["text/*.txt"], "prefetch": 0, "packing_mode": "sequential"}
    return configured(folder, folder, data=data, train={"steps": 100_000}), folders


def test_processes_with_other_settings_or_text_are_refused_by_all(tmp_path: Path) -> None:
    config, folders = two_folders(tmp_path)
    with Group(tmp_path / "run", config, own={1: ["-o", "optim.lr=0.5"]}, folders=folders) as group:
        assert group.finish(40) == [2, 2]
        for text in group.texts():
            assert "in its configuration: optim.lr is 0.5, not 0.003" in text
    # An attempt that ends so leaves nothing behind that the corrected command is refused for.
    assert not group.run_dir.exists()
    (folders[1] / "text" / "007.txt").write_text("other")
    with Group(tmp_path / "other", config, folders=folders) as group:
        assert group.finish(40) == [3, 3]
        for text in group.texts():
            assert "in its text: " in text


def test_a_process_whose_text_cannot_be_read_is_named(tmp_path: Path) -> None:
    config, folders = two_folders(tmp_path)
    with Group(tmp_path / "run", config, folders=folders) as group:
        group.wait_for(at_step(3))
        for path in (folders[1] / "text").iterdir():
            path.write_text("changed while the run reads it")
        assert group.finish(20) == [7, 3], group.texts()
        pid = group.engines[1].process.pid
        named = rf"process 1 \(pid {pid} on .*\) failed: .*host1/text/\d+\.txt"
        assert re.search(named, group.end().reason)


@pytest.mark.soak
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stop_of_either_at_any_moment(moment: str, index: int, tmp_path: Path, corpus: Path) -> None:
    stop_at(moment, index, tmp_path, corpus)


@pytest.mark.soak
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_is_suspended_is_named(index: int, tmp_path: Path, corpus: Path, whole: Path) -> None:
    parallel = {"lost_after_seconds": 15.0}
    with Group(tmp_path / "run", configured(tmp_path, corpus, parallel=parallel)) as group:
        group.wait_for(at_step(15))
        group.strike(index, signal.SIGSTOP)
        assert group.engines[1 - index].finish(20) == 7
        named = f"process {index} (pid {group.engines[index].process.pid} on "
        assert named in group.texts()[1 - index]
        ended = group.run_dir.joinpath("events.jsonl").read_bytes()
        assert (group.end().status, group.end().exit_code) == ("crashed", 7)
        assert named in group.end().reason
        # Woken up, it ends too, and adds nothing.
        group.strike(index, signal.SIGCONT)
        assert group.engines[index].finish(30) == 7, group.texts()
        assert group.run_dir.joinpath("events.jsonl").read_bytes() == ended
        assert len(events_of(group.run_dir, RunEnded)) == 1
    resume(group.run_dir)
    assert exact_rows(group.run_dir) == exact_rows(whole)


@pytest.mark.soak
def test_four_processes(tmp_path: Path, corpus: Path) -> None:
    with Group(tmp_path / "run", configured(tmp_path, corpus), count=4) as group:
        group.wait_for(at_step(15))
        group.strike(3, signal.SIGTERM)
        assert group.finish(20) == [STOPPED] * 4, group.texts()
    with Group(tmp_path / "run", "--resume", "latest", count=4) as group:
        group.wait_for(lambda event: isinstance(event, Event) and at_step(25)(event))
        group.strike(2, signal.SIGKILL)
        assert group.finish(30) == [7, 7, -signal.SIGKILL, 7], group.texts()
        assert "process 2 (pid " in group.end().reason
