"""Requests to a live engine: what stops it, and the commands of `commands.jsonl`."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from chomp.parallel.world import World
from chomp.record.commands import Command, CommandReader
from chomp.record.events import Acknowledged, Warned
from chomp.sinks import Reporter

T = TypeVar("T")

WAIT_SLICE_SECONDS = 0.05
ENDINGS = ("stop", "abort")
ENDING = "ending the run"
ABORT = "abort requested"


class StopRequestedError(Exception):
    """The user or the system stops the run; raised where work can be left."""


class StoppedReadingError(StopRequestedError):
    """A stop found one process of several waiting for its text; the others may have begun the next step."""


class AbortRequestedError(Exception):
    """The user ends the run at once, without saving."""


@dataclass(frozen=True)
class StopRequest:
    """What stops the run, in words, and the exit code it means."""

    reason: str
    exit_code: int


class StopSwitch:
    """Set once by a signal or a command; checked by everything that can stop early."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._wake: list[Callable[[], None]] = []
        self.request: StopRequest | None = None

    def set(self, request: StopRequest) -> None:
        if self.request is None:
            self.request = request
        self._event.set()
        for wake in self._wake:
            wake()

    def on_set(self, wake: Callable[[], None]) -> None:
        """Call `wake` at a stop request, to end a wait that does not look at the switch; it must not block."""
        self._wake.append(wake)

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise `StopRequestedError` after a stop request."""
        if self.is_set():
            raise StopRequestedError


def run_interruptible(work: Callable[[], T], check: Callable[[], None]) -> T:
    """Run `work` in a thread and return its result, or leave it behind when `check` raises.

    For work that cannot be cancelled and may take minutes, such as a compilation.

    Raises:
        StopRequestedError, AbortRequestedError: by `check`; the thread is abandoned.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            failure.append(error)

    # With what listens to progress here.
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(target), daemon=True, name="interruptible")
    thread.start()
    while thread.is_alive():
        check()
        thread.join(WAIT_SLICE_SECONDS)
    if failure:
        raise failure[0]
    return result[0]


def leave_together(world: World, switch: StopSwitch, leaving: Exception | None = None) -> None:
    """Return if no process of the run leaves its work here; else raise in all of them.

    All processes call it at the same place. One that found its switch set elsewhere comes here by itself: the watchdog
    sets the switches of all.

    Args:
        leaving: why this process leaves; None if it does not.

    Raises:
        StopRequestedError, AbortRequestedError: a process leaves.
    """
    if world.is_alone:
        if leaving is not None:
            raise leaving
        return
    request = switch.request if isinstance(leaving, StopRequestedError) else None
    wish: dict[str, Any] | None = None
    if leaving is not None:
        wish = {"abort": True} if request is None else {"reason": request.reason, "exit_code": request.exit_code}
    wishes = [each for each in world.meet(wish) if each is not None]
    if any("abort" in each for each in wishes):
        raise AbortRequestedError
    if wishes:
        switch.set(StopRequest(**wishes[0]))
        # One request counts everywhere, and its exit code.
        switch.request = StopRequest(**wishes[0])
        raise StopRequestedError


class CommandQueue:
    """The commands that wait for the next step boundary, and the answers to them.

    Attributes:
        switch: what a `stop` sets.
        look: called at each read: finds the run directory, in which the commands are, or raises.
        world: the processes of the run, of which the leader reads the commands.
    """

    def __init__(
        self,
        reader: CommandReader,
        reporter: Reporter,
        switch: StopSwitch,
        look: Callable[[], None] = lambda: None,
        world: World | None = None,
    ):
        self.switch = switch
        self.world = world if world is not None else World()
        self.look = look
        self._given: deque[Command] = deque()
        self._reader = reader
        self._reporter = reporter
        self._waiting: list[Command] = []
        self._is_problem_published = False

    def give(self, command: Command) -> None:
        """Add a command of a signal; callable from any thread."""
        self._given.append(command)

    def take(self) -> list[Command]:
        """The commands that all processes obey now, those that the leader has read.

        Raises:
            RunDirError: the run directory is gone.
        """
        if self.world.is_alone:
            return self.read()
        waiting = self.world.decide(lambda: [asdict(command) for command in self.read()])
        return [Command(**command) for command in waiting]

    def has_commands(self) -> bool:
        """Whether commands wait to be taken, in the leader.

        Raises:
            RunDirError: the run directory is gone.
        """
        self._waiting = self.read()
        return bool(self._waiting)

    def take_given(self) -> list[Command]:
        """The commands of signals that this process has received, in a process that is not the leader."""
        given = list(self._given)
        self._given.clear()
        return given

    def read(self) -> list[Command]:
        """Commands that are not obeyed yet, in the order in which they arrived.

        Raises:
            RunDirError: the run directory is gone.
        """
        self.look()
        commands = [*self._waiting, *self._reader.read()]
        while self._given:
            commands.append(self._given.popleft())
        self._waiting = []
        if self._reader.problem and not self._is_problem_published:
            self._is_problem_published = True
            self._reporter.publish(Warned(topic="commands", message=self._reader.problem))
        return commands

    def answer(self, command: Command, step: int, message: str, *, ok: bool = True) -> None:
        """Publish the answer to `command`."""
        self._reporter.publish(Acknowledged(id=command.id, command=command.command, ok=ok, message=message, step=step))

    def check(self, step: int) -> None:
        """Obey a signal, a `stop` or an `abort` before the first step; other commands wait for it.

        Raises:
            StopRequestedError: by a signal or a `stop`.
            AbortRequestedError: by an `abort`.
            RunDirError: the run directory is gone.
        """
        self.switch.check()
        if not self.world.is_leader:
            self.look()
            return
        self._waiting = self.read()
        for command in self._waiting:
            if command.command in ENDINGS:
                self.answer(command, step, ENDING)
                raise self.ending(command)

    def ending(self, command: Command) -> StopRequestedError | AbortRequestedError:
        """The error that obeys a `stop` or an `abort` where it is raised."""
        if command.command == "abort":
            if not self.world.is_alone:
                # Interrupts the others, who learn where they meet that it is an abort.
                self.switch.set(StopRequest(ABORT, 0))
            return AbortRequestedError()
        self.switch.set(StopRequest("stop requested", 0))
        return StopRequestedError()


class Interruptible:
    """Runs work that a stop may cut short, in all processes of the run or in none.

    Args:
        queue: with the stop switch and the commands that interrupt.
    """

    def __init__(self, queue: CommandQueue):
        self._queue = queue

    def __call__(self, work: Callable[[], T], step: int | None = 0) -> T:
        """Run `work` in a thread and return its result, or leave it behind, as `run_interruptible` does.

        Args:
            step: the last completed one, for the answer to a command; None where commands do not interrupt.

        Raises:
            StopRequestedError, AbortRequestedError: in all processes, if any of them is to leave.
        """
        queue = self._queue
        check = queue.switch.check if step is None else partial(queue.check, step=step)
        try:
            result = run_interruptible(work, check)
        except (StopRequestedError, AbortRequestedError) as error:
            leave_together(queue.world, queue.switch, error)
            raise
        leave_together(queue.world, queue.switch)
        return result
