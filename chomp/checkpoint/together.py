"""Checkpoints of several processes: each hashes what it wrote, the leader seals, and all come to the same result.

Orbax waits at barriers of its own, where a process whose peer has failed waits for minutes. Processes therefore tell
the leader through the world's key-value store what became of their parts; the leader answers all of them, and while
Orbax works each looks for what the others have said.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from chomp.errors import CheckpointError
from chomp.parallel.world import World
from chomp.record.manifest import FileTable, describe, files_of, hash_files, list_in_manifest, verify

T = TypeVar("T")
R = TypeVar("R")

# Longer and longer, up to this: a save takes seconds to minutes.
LONGEST_PAUSE_SECONDS = 0.5
# Orbax gives each process folders and files of its own; all others are the leader's.
OF_PROCESS = re.compile(r"(?:ocdbt\.)?process_(\d+)")


class FailedPartError(Exception):
    """A process could not do its part; the text names it and the reason."""


class Meeting(Generic[T]):
    """Each process does a part, and the leader makes one result of all parts, which all processes get.

    What is said replaces what was said at the meeting before, on the same topic: a process that is here has been there.

    Args:
        world: the processes.
        topic: meetings on one topic follow each other.
        number: of the meeting; the same in all processes, and no earlier one's.
        reason_of: the reason of an error, for the user.
    """

    def __init__(self, world: World, topic: str, number: int, reason_of: Callable[[Exception], str] = str):
        self._world, self._number, self._reason_of = world, number, reason_of
        self._parts, self._answer = f"checkpoint/{topic}/parts", f"checkpoint/{topic}/answer"

    def hold(self, part: Callable[[], T], combined: Callable[[list[T]], Any]) -> Any:
        """The result, JSON-able like the parts.

        Args:
            part: does this process's part.
            combined: makes the result, in the leader, of the parts in the order of the processes.

        Raises:
            FailedPartError: in all processes, if one could not do its part or the leader could not combine them.
        """
        leads = self._world.is_leader
        try:
            self._say(self._parts, part)
            if leads:
                parts = self._once(self._all_parts)
                self._say(self._answer, lambda: combined(parts))
        except FailedPartError as error:
            if leads:
                self._world.say(self._answer, {"number": self._number, "error": str(error)})
        return self._once(lambda: self._said(self._answer) or None)[0]

    def unless_failed(
        self, wait_for: Callable[[], None], own_failure: Callable[[], BaseException | None] = lambda: None
    ) -> None:
        """Wait with `wait_for`, or raise as soon as a process fails; `wait_for` is then left behind.

        Args:
            own_failure: why `wait_for` will fail, as soon as that is known; None until then.
        """
        done: Future[None] = Future()

        def settle() -> None:
            try:
                wait_for()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=settle, daemon=True, name="checkpoint-parts").start()
        where = self._parts if self._world.is_leader else self._answer
        for pause in _pauses():
            if wait([done], timeout=pause).done:
                break
            if (failure := own_failure()) is not None:
                raise failure
            self._said(where)
        done.result()

    def _say(self, where: str, work: Callable[[], Any]) -> None:
        """Say what `work` returns, or why it fails."""
        try:
            said = {"result": work()}
        except FailedPartError:
            raise
        except Exception as error:  # noqa: BLE001 - of every kind; all processes raise it
            said = {"error": f"{self._world.members[self._world.index]}: {self._reason_of(error)}"}
        self._world.say(where, {"number": self._number, **said})

    def _said(self, where: str) -> dict[int, Any]:
        """What has been said at this meeting, by process.

        Raises:
            FailedPartError: one has said that it failed.
        """
        told = self._world.heard(where)
        for said in told.values():
            # The leader answers without this process only if one has failed: then here, and again at a later meeting.
            if said["number"] >= self._number and "error" in said:
                raise FailedPartError(said["error"])
        return {index: said["result"] for index, said in told.items() if said["number"] == self._number}

    def _all_parts(self) -> list[T] | None:
        said = self._said(self._parts)
        return [said[index] for index in range(self._world.count)] if len(said) == self._world.count else None

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


class Together:
    """The processes of a run at their checkpoints; one process asks no other.

    All methods are called by all processes in the same order, by one thread at a time.

    Attributes:
        leads: whether this process writes all but its own arrays.
        several: whether there are other processes.
    """

    def __init__(self, world: World, reason_of: Callable[[Exception], str]):
        self._world, self._reason_of = world, reason_of
        self.leads, self.several = world.is_leader, not world.is_alone

    def meeting(self, topic: str) -> Meeting[Any]:
        """The next meeting."""
        return Meeting(self._world, topic, self._world.new_number(), self._reason_of)

    def led(self, work: Callable[[], T]) -> T:
        """What `work` returns in the leader, JSON-able, in all processes; the others do not call it.

        Raises:
            CheckpointError: in all processes, if `work` raises it.
        """
        if not self.several:
            return work()
        try:
            result: T = self.meeting("led").hold(lambda: work() if self.leads else None, lambda parts: parts[0])
        except FailedPartError as error:
            raise CheckpointError(str(error)) from error
        return result

    def first_problem(self, own: Exception | None) -> str | None:
        """The problem of a process that has one."""
        if not self.several:
            return str(own) if own is not None else None

        def require() -> bool:
            if own is not None:
                raise own
            return True

        try:
            self.meeting("problem").hold(require, all)
        except FailedPartError as error:
            return str(error)
        return None

    def verify(self, folder: Path) -> list[str]:
        """What is wrong with a checkpoint's bytes, in all processes; each hashes its share of them."""
        if not self.several:
            return verify(folder)
        found = self.meeting("verify").hold(
            lambda: verify(folder, part=self._world.index, parts=self._world.count),
            lambda parts: [problem for part in parts for problem in part],
        )
        # What is wrong with the manifest, each of them says.
        return list(dict.fromkeys(found))

    def complete(self, meeting: Meeting[FileTable], response: Any, folder: Path, meta: dict[str, Any]) -> int:
        """Complete a save of all processes: wait until all have written their parts, hash this one's, and seal.

        In a thread of its own, while others may meet on other topics.

        Args:
            meeting: on this save.
            response: Orbax's; waiting for it may take minutes if another process has failed.
            folder: where the checkpoint then is.
            meta: its metadata.

        Returns:
            Bytes of the checkpoint.

        Raises:
            FailedPartError: in all processes, if any of them failed; nothing is sealed.
        """
        index, count = self._world.index, self._world.count

        def own_part() -> FileTable:
            meeting.unless_failed(response.result, lambda: _failure_of(response))
            if index == 0:
                describe(folder, meta)
            return hash_files(folder, [file for file in files_of(folder) if _owner(file, count) == index])

        return int(meeting.hold(own_part, lambda tables: _sealed(folder, meta["step"], tables)))


def _failure_of(response: Any) -> BaseException | None:
    """Why a save has failed, as soon as it has.

    Its `result` raises that only when all its other work has ended, some of which waits at barriers for the other
    processes: if they have failed as well, for minutes. Private: Orbax has no public way to ask.
    """
    future: Future[None] = response._thread_runner._future
    return future.exception() if future.done() and not future.cancelled() else None


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
