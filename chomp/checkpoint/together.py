"""Checkpoints of several processes: each hashes what it wrote, the leader seals, and all come to the same result.

Orbax waits at barriers of its own, where a process whose peer has failed waits for minutes. Processes therefore tell
the leader through the world's key-value store what became of their parts; the leader answers all of them, and while
Orbax works each looks for what the others have said.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from chomp.errors import CheckpointError
from chomp.record.manifest import FileTable, describe, files_of, hash_files, list_in_manifest, verify

T = TypeVar("T")
R = TypeVar("R")

# Longer and longer, up to this: a save takes seconds to minutes.
LONGEST_PAUSE_SECONDS = 0.5
# Orbax gives each process folders and files of its own; all others are the leader's.
OF_PROCESS = re.compile(r"(?:ocdbt\.)?process_(\d+)")


class Peers(Protocol):
    """What the processes of a run tell each other (`chomp.parallel.world.World`).

    Attributes:
        index: which process this is; the leader is 0.
        count: how many there are.
        members: all of them, as messages name them.
    """

    index: int
    count: int
    members: Sequence[Any]

    def share(self, value: Any) -> Any:
        """The leader's JSON-able value, in all processes, which call this in the same order."""

    def say(self, name: str, value: Any) -> None:
        """Tell all processes a JSON-able value under a name, or replace what this one said under it."""

    def heard(self, name: str) -> dict[int, Any]:
        """What processes have said under a name so far, by their index; does not wait."""


class Alone:
    """The one process of a run."""

    index = 0
    count = 1
    members: Sequence[Any] = ()

    def share(self, value: Any) -> Any:
        return value

    def say(self, name: str, value: Any) -> None:
        raise AssertionError("one process has no peers")

    def heard(self, name: str) -> dict[int, Any]:
        raise AssertionError("one process has no peers")


ALONE = Alone()


class FailedPartError(Exception):
    """A process could not do its part; the text names it and the reason."""


class Meeting(Generic[T]):
    """Each process does a part, and the leader makes one result of all parts, which all processes get.

    What is said replaces what was said at the meeting before, on the same topic: a process that is here has been there.

    Args:
        peers: the processes.
        topic: meetings on one topic follow each other.
        number: of the meeting; the same in all processes, and no earlier one's.
        reason_of: the reason of an error, for the user.
    """

    def __init__(self, peers: Peers, topic: str, number: int, reason_of: Callable[[Exception], str] = str):
        self._peers, self._number, self._reason_of = peers, number, reason_of
        self._parts, self._answer = f"checkpoint/{topic}/parts", f"checkpoint/{topic}/answer"

    def hold(self, part: Callable[[], T], combined: Callable[[list[T]], Any]) -> Any:
        """The result, JSON-able like the parts.

        Args:
            part: does this process's part.
            combined: makes the result, in the leader, of the parts in the order of the processes.

        Raises:
            FailedPartError: in all processes, if one could not do its part or the leader could not combine them.
        """
        leads = self._peers.index == 0
        try:
            self._say(self._parts, part)
            if leads:
                parts = self._once(self._all_parts)
                self._say(self._answer, lambda: combined(parts))
        except FailedPartError as error:
            if leads:
                self._peers.say(self._answer, {"number": self._number, "error": str(error)})
        return self._once(lambda: self._said(self._answer).get(0))

    def unless_failed(self, wait_for: Callable[[], None]) -> None:
        """Wait with `wait_for`, or raise as soon as another process fails; `wait_for` is then left behind."""
        done: Future[None] = Future()

        def settle() -> None:
            try:
                wait_for()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=settle, daemon=True, name="checkpoint-parts").start()
        where = self._parts if self._peers.index == 0 else self._answer
        for pause in _pauses():
            if wait([done], timeout=pause).done:
                break
            self._said(where)
        done.result()

    def _say(self, where: str, work: Callable[[], Any]) -> None:
        """Say what `work` returns, or why it fails."""
        try:
            said = {"result": work()}
        except FailedPartError:
            raise
        except Exception as error:  # noqa: BLE001 - of every kind; all processes raise it
            said = {"error": f"{self._peers.members[self._peers.index]}: {self._reason_of(error)}"}
        self._peers.say(where, {"number": self._number, **said})

    def _said(self, where: str) -> dict[int, Any]:
        """What has been said at this meeting, by process.

        Raises:
            FailedPartError: one has said that it failed.
        """
        told = {index: said for index, said in self._peers.heard(where).items() if said["number"] == self._number}
        for said in told.values():
            if "error" in said:
                raise FailedPartError(said["error"])
        return {index: said["result"] for index, said in told.items()}

    def _all_parts(self) -> list[T] | None:
        said = self._said(self._parts)
        return [said[index] for index in range(self._peers.count)] if len(said) == self._peers.count else None

    def _once(self, look: Callable[[], R | None]) -> R:
        """What `look` finds, as soon as it finds anything."""
        for pause in _pauses():
            found = look()
            if found is not None:
                return found
            time.sleep(pause)
        raise AssertionError


def _pauses() -> Iterator[float]:
    pause = 0.01
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def led(peers: Peers, work: Callable[[], T]) -> T:
    """What the leader's `work` returns, which is JSON-able; the other processes do not call it.

    Raises:
        CheckpointError: in all processes, if `work` raises it.
    """
    if peers.count == 1:
        return work()
    told: dict[str, Any] = {}
    if peers.index == 0:
        try:
            told = {"result": work()}
        except CheckpointError as error:
            told = {"error": str(error)}
    told = peers.share(told)
    if "error" in told:
        raise CheckpointError(told["error"])
    return told["result"]


def verify_together(peers: Peers, number: int, folder: Path) -> list[str]:
    """What is wrong with a checkpoint's bytes, in all processes; each hashes its share of them.

    Args:
        number: of the meeting.
    """
    if peers.count == 1:
        return verify(folder)
    found = Meeting[list[str]](peers, "verify", number).hold(
        lambda: verify(folder, part=peers.index, parts=peers.count),
        lambda parts: [problem for part in parts for problem in part],
    )
    # What is wrong with the manifest, each of them says.
    return list(dict.fromkeys(found))


def complete_together(
    meeting: Meeting[FileTable], peers: Peers, written: Callable[[], None], folder: Path, meta: dict[str, Any]
) -> int:
    """Complete a save of all processes: wait until all have written their parts, hash this one's, and seal.

    Args:
        meeting: on this save.
        peers: the processes.
        written: returns when Orbax has completed the save, which may take minutes if another process has failed.
        folder: where the checkpoint then is.
        meta: its metadata.

    Returns:
        Bytes of the checkpoint.

    Raises:
        FailedPartError: in all processes, if any of them failed; nothing is sealed.
    """

    def own_part() -> FileTable:
        meeting.unless_failed(written)
        if peers.index == 0:
            describe(folder, meta)
        return hash_files(folder, [file for file in files_of(folder) if _owner(file, peers.count) == peers.index])

    return int(meeting.hold(own_part, lambda tables: _sealed(folder, meta["step"], tables)))


def _owner(file: str, count: int) -> int:
    """Which process wrote a file, and has it in its page cache."""
    found = [OF_PROCESS.fullmatch(part) for part in Path(file).parts]
    index = next((int(match[1]) for match in found if match), 0)
    return index if index < count else 0


def _sealed(folder: Path, step: int, tables: list[FileTable]) -> int:
    """Seal, if the leader sees what the others wrote."""
    files: FileTable = {}
    for table in tables:
        files |= table
    names = files_of(folder)
    differing = sorted(set(names) ^ set(files))
    if differing:
        raise CheckpointError(
            f"processes do not see the same files ({differing[0]}); the run directory must be on a file system that "
            "all hosts share"
        )
    return list_in_manifest(folder, step, {name: files[name] for name in names})
