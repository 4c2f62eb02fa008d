"""What people and the system ask of a live engine: signals and `commands.jsonl`.

Python runs signal handlers only between bytecodes of the main thread, which may sit for a
minute inside a compilation. The operating system's wake-up descriptor has no such delay,
so a watcher thread reads it and the engine learns of a signal at once, in every phase.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TypeVar

from chomp.events import Acknowledged, Command, CommandReader, EventWriter

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal that closes sends SIGHUP: the run goes on, because its console may come back.
WAIT_SLICE_SECONDS = 0.05


class StopRequestedError(Exception):
    """Raised where work can be left when somebody asked the engine to stop."""


@dataclass(frozen=True)
class StopRequest:
    """Who asked for the end, in words, and the exit code it means."""

    reason: str
    exit_code: int


class StopSwitch:
    """Set once by a signal or a command; asked by everything that can stop early."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.request: StopRequest | None = None

    def set(self, request: StopRequest) -> None:
        if self.request is None:
            self.request = request
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise `StopRequestedError` if a stop was asked for."""
        if self.is_set():
            raise StopRequestedError


class SignalWatcher:
    """Turns the first SIGINT or SIGTERM into a stop request and the second into an abort.

    Args:
        switch: set by the first signal.
        on_first: told the first signal's name, to tell the user what will happen.
        on_second: called from the watcher thread; must end the process.
    """

    def __init__(self, switch: StopSwitch, *, on_first: Callable[[str], None], on_second: Callable[[int], None]):
        self._switch = switch
        self._on_first = on_first
        self._on_second = on_second
        self._previous: dict[signal.Signals, object] = {}
        self._read_fd, self._write_fd = -1, -1
        self._old_fd = -1

    def __enter__(self) -> SignalWatcher:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, _ignore)
        threading.Thread(target=self._watch, daemon=True, name="signals").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._old_fd)
        # Closing the writing end is the watcher's end of file.
        os.close(self._write_fd)

    def _watch(self) -> None:
        while data := os.read(self._read_fd, 64):
            for number in data:
                if number not in STOP_SIGNALS:
                    continue
                name = signal.Signals(number).name
                if self._switch.is_set():
                    self._on_second(128 + number)
                    return
                self._switch.set(StopRequest(f"{name} received", 128 + number))
                self._on_first(name)
        os.close(self._read_fd)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Replaces the default action; the watcher thread does the work."""


def interruptibly(work: Callable[[], T], switch: StopSwitch) -> T:
    """Run `work` in a thread and return its result, or leave it behind when a stop is asked for.

    For work that cannot be cancelled and may take minutes, such as a compilation.

    Raises:
        StopRequestedError: a stop was asked for first; the thread is abandoned.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            failure.append(error)

    thread = threading.Thread(target=target, daemon=True, name="interruptible")
    thread.start()
    while thread.is_alive():
        switch.check()
        thread.join(WAIT_SLICE_SECONDS)
    if failure:
        raise failure[0]
    return result[0]


class CommandQueue:
    """The commands that wait for the next step boundary, and the answers to them."""

    def __init__(self, reader: CommandReader, events: EventWriter):
        self._reader = reader
        self._events = events
        self._refusal_told = False

    def read(self) -> list[Command]:
        """Commands that arrived since the last call."""
        commands = list(self._reader.read())
        if self._reader.refused and not self._refusal_told:
            self._refusal_told = True
            self._events.write(Acknowledged(id="", command="", ok=False, message=self._reader.refused, step=0))
        return commands

    def answer(self, command: Command, step: int, message: str, *, ok: bool = True) -> None:
        """Tell whoever sent `command` what became of it."""
        self._events.write(Acknowledged(id=command.id, command=command.command, ok=ok, message=message, step=step))
