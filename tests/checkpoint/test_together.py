"""What several processes do together at a checkpoint, with threads in their place."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from orbax.checkpoint.experimental.v1._src.synchronization.thread_utils import BackgroundThreadRunner

from chomp.checkpoint.together import FailedPartError, Together
from chomp.errors import CheckpointError
from chomp.parallel.members import Member
from chomp.parallel.world import World
from chomp.record import manifest
from chomp.record.manifest import MANIFEST, seal, verify

COUNT = 3
FILES = (
    "params/_METADATA",
    "params/d/tree",
    *(f"params/ocdbt.process_{index}/d/arrays" for index in range(COUNT)),
    *(f"params/array_metadatas/process_{index}" for index in range(COUNT)),
    # Of more processes than there are: left by nobody, hashed all the same.
    "params/ocdbt.process_7/d/arrays",
    "data/position.json",
)


class Board:
    """What threads in the place of processes have said."""

    def __init__(self) -> None:
        self._said: dict[str, dict[int, str]] = {}
        self._lock = threading.Lock()

    def say(self, name: str, index: int, value: Any) -> None:
        with self._lock:
            self._said.setdefault(name, {})[index] = json.dumps(value)

    def heard(self, name: str) -> dict[int, Any]:
        with self._lock:
            return {index: json.loads(text) for index, text in self._said.get(name, {}).items()}


def who(index: int) -> str:
    return f"process {index} (pid 10{index} on host{index})"


class Process(World):
    """One of them."""

    count = COUNT

    def __init__(self, board: Board, index: int):
        self.board, self.index = board, index
        self.members = tuple(Member(number, f"host{number}", 100 + number) for number in range(COUNT))

    def say(self, name: str, value: Any) -> None:
        self.board.say(name, self.index, value)

    def heard(self, name: str) -> dict[int, Any]:
        return self.board.heard(name)


def all_do(work: Callable[[int, Together], Any]) -> list[Any]:
    """What `work` returns, or the error that it raises, in each process."""
    board = Board()

    def one(index: int) -> Any:
        try:
            return work(index, Together(Process(board, index), str))
        except (FailedPartError, CheckpointError) as error:
            return error

    with ThreadPoolExecutor(COUNT) as threads:
        return list(threads.map(one, range(COUNT)))


class Response:
    """Orbax's response to a save, made by its own runner of saves.

    Args:
        save: writes what this process writes.
        barrier: waits for other processes meanwhile.
    """

    def __init__(self, save: Callable[[], None] = lambda: None, barrier: Callable[[], object] = lambda: None):
        async def work() -> None:
            at_barrier = asyncio.create_task(asyncio.to_thread(barrier))
            await asyncio.to_thread(save)
            await at_barrier

        self._thread_runner = BackgroundThreadRunner(work())

    def result(self) -> None:
        self._thread_runner.result()


def full() -> None:
    raise OSError("No space left on device")


def write(folder: Path) -> Path:
    for number, name in enumerate(FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([number]) * (100 * number))
    return folder


def test_the_manifest_is_that_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"step": 5, "note": "x"}
    alone, together = write(tmp_path / "alone" / "5"), write(tmp_path / "together" / "5")
    size = seal(alone, meta)
    hashed: dict[int, list[str]] = {}
    known = threading.local()

    def note(folder: Path, names: list[str]) -> Any:
        hashed[known.index] = list(names)
        return by_name(folder, names)

    by_name = manifest.hash_files
    monkeypatch.setattr("chomp.checkpoint.together.hash_files", note)

    def save(index: int, at: Together) -> int:
        known.index = index
        return at.complete(at.meeting("save"), Response(), together, meta)

    assert all_do(save) == [size] * COUNT
    assert (together / MANIFEST).read_bytes() == (alone / MANIFEST).read_bytes()
    assert hashed[1] == ["params/array_metadatas/process_1", "params/ocdbt.process_1/d/arrays"]
    assert "params/ocdbt.process_7/d/arrays" in hashed[0]
    assert sorted(name for names in hashed.values() for name in names) == sorted({*FILES, "meta.json"})


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_of_one_is_that_of_all(failing: int, tmp_path: Path) -> None:
    folder, never = write(tmp_path / "5"), threading.Event()

    def save(index: int, at: Together) -> int:
        # The others wait for it in Orbax.
        return at.complete(at.meeting("save"), Response(full if index == failing else wait), folder, {"step": 5})

    def wait() -> None:
        never.wait(60)

    try:
        ended = all_do(save)
    finally:
        never.set()
    assert {str(error) for error in ended} == {f"{who(failing)}: No space left on device"}
    assert all(isinstance(error, FailedPartError) for error in ended)
    assert not (folder / MANIFEST).exists()


def test_all_fail_while_orbax_waits_at_its_barrier(tmp_path: Path) -> None:
    """Each process says so at once: Orbax tells of a failure only when none of its own work waits any more."""
    folder, never, came = write(tmp_path / "5"), threading.Event(), threading.Event()

    def barrier() -> None:
        never.wait(60)
        came.set()

    def save(index: int, at: Together) -> int:
        return at.complete(at.meeting("save"), Response(full, barrier), folder, {"step": 5})

    try:
        ended = all_do(save)
        assert not came.is_set()
    finally:
        never.set()
    assert {str(error) for error in ended} <= {f"{who(index)}: No space left on device" for index in range(COUNT)}
    assert all(isinstance(error, FailedPartError) for error in ended)


def test_a_folder_that_is_not_shared(tmp_path: Path) -> None:
    def save(index: int, at: Together) -> int:
        return at.complete(at.meeting("save"), Response(), write(tmp_path / str(index) / "5"), {"step": 5})

    (tmp_path / "2" / "5").mkdir(parents=True)
    (tmp_path / "2" / "5" / "process_2").write_text("of its own")
    for error in all_do(save):
        assert str(error) == (
            f"{who(0)}: processes do not see the same files (process_2); the run directory must be on a file "
            "system that all hosts share"
        )


def test_bytes_are_verified_once_and_judged_alike(tmp_path: Path) -> None:
    folder = write(tmp_path / "5")
    seal(folder, {"step": 5})
    read: list[int] = []

    def judge(index: int, at: Together) -> list[list[str]]:
        before = at.verify(folder)
        at.meeting("verify").hold(lambda: damage() if index == 0 else True, all)
        return [before, at.verify(folder)]

    def damage() -> bool:
        for name in FILES[-3:-1]:
            (folder / name).write_bytes(b"")
        return True

    first, *others = all_do(judge)
    assert others == [first, first]
    assert first[0] == []
    assert sorted(first[1]) == sorted(verify(folder))
    assert len(first[1]) == 2
    for part in range(COUNT):
        verify(folder, read.append, part=part, parts=COUNT)
    assert sum(read) == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    )
    (folder / MANIFEST).unlink()
    assert all_do(lambda index, at: at.verify(folder)) == [["manifest.json is missing or damaged"]] * COUNT


def test_the_leader_decides() -> None:
    def decide(index: int, at: Together) -> list[Any]:
        def fail() -> None:
            raise CheckpointError("cannot write checkpoints to /x: Permission denied")

        answers: list[Any] = [at.led(lambda: {"of": index}) for _ in range(20)]
        assert answers == [{"of": 0}] * 20
        assert at.led(lambda: None) is None
        assert at.first_problem(CheckpointError("too small") if index == 2 else None) == f"{who(2)}: too small"
        assert at.first_problem(None) is None
        at.led(fail)
        return answers

    for error in all_do(decide):
        assert isinstance(error, CheckpointError)
        assert str(error) == f"{who(0)}: cannot write checkpoints to /x: Permission denied"
