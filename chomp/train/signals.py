"""Signals to a live engine.

Python runs signal handlers only between bytecodes of the main thread, which may be inside a
compilation for a minute. The operating system's wake-up descriptor has no such delay,
so a watcher thread reads it and the engine learns of a signal at once, in every phase.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType

from chomp.record.signals import HANDLED_SIGNALS, NOTICE_SIGNALS, STOP_SIGNALS
from chomp.train.control import StopRequest, StopSwitch

# Ctrl+C goes to a whole process group, and wrappers (make, uv, scripts) pass it on: the same request, twice at once.
SAME_REQUEST_SECONDS = 0.1
# How often the watcher looks at the clock, to know after a suspension when it began.
BEAT_SECONDS = 0.25
# The last messages may block, on a full pipe or a full disk; the process ends all the same.
LAST_MESSAGES_SECONDS = 2.0


@dataclass(frozen=True)
class SignalActions:
    """What a `SignalWatcher` calls, in threads of its own.

    Attributes:
        on_first: the first SIGINT or SIGTERM came; called with its name, to tell the user what will happen.
        on_second: a second one came; called with the exit code just before the process ends.
        on_notice: SIGUSR1, SIGUSR2 or SIGXCPU came; called with its number.
        on_hangup: SIGHUP came.
        on_suspend: SIGTSTP came; called just before the process stops.
        on_continue: SIGCONT came; called with the seconds for which the process was stopped.
        leave: ends the process with an exit code.
    """

    on_first: Callable[[str], None]
    on_second: Callable[[int], None]
    on_notice: Callable[[int], None] = lambda number: None
    on_hangup: Callable[[], None] = lambda: None
    on_suspend: Callable[[], None] = lambda: None
    on_continue: Callable[[float], None] = lambda seconds: None
    leave: Callable[[int], None] = os._exit


class SignalWatcher:
    """Turns the first SIGINT or SIGTERM into a stop request and the second into the end of the process.

    SIGHUP, which a closing terminal or a broken connection sends, stops nothing: the run continues as
    it would under nohup, `chomp ctl RUN stop` still ends it, and a console can attach to it later.
    The kernel repeats SIGXCPU every second; the first one counts. SIGTSTP (Ctrl+Z) stops the process until
    SIGCONT, also without a shell: by default the kernel ignores it in a process group that has none.

    Args:
        switch: set by the first SIGINT or SIGTERM.
    """

    def __init__(self, switch: StopSwitch, actions: SignalActions):
        self._switch = switch
        self._actions = actions
        self._requested_at: float | None = None
        self._is_out_of_cpu_time = False
        self._previous: dict[signal.Signals, object] = {}
        self._read_fd, self._write_fd = -1, -1
        self._old_fd = -1

    def __enter__(self) -> SignalWatcher:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in HANDLED_SIGNALS:
            # What the parent process ignores (SIGHUP under nohup) stays ignored.
            if number in STOP_SIGNALS or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _ignore)
        threading.Thread(target=self._watch, daemon=True, name="signals").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._old_fd)
        # Closing the writing end is the watcher's end of file.
        os.close(self._write_fd)

    def _watch(self) -> None:
        before = last = time.monotonic()
        while True:
            ready = select.select([self._read_fd], [], [], BEAT_SECONDS)[0]
            now = time.monotonic()
            if ready:
                data = os.read(self._read_fd, 64)
                if not data:
                    break
                # After a suspension this thread may have woken before the signal arrived.
                stopped = max(last - before, now - last)
                for number in data:
                    self._received(number, stopped)
            before, last = last, now
        os.close(self._read_fd)

    def _received(self, number: int, stopped_seconds: float) -> None:
        actions = self._actions
        if number in STOP_SIGNALS:
            self._stop_requested(number)
        elif number in NOTICE_SIGNALS:
            if number != signal.SIGXCPU or not self._is_out_of_cpu_time:
                _aside(lambda: actions.on_notice(number))
            self._is_out_of_cpu_time |= number == signal.SIGXCPU
        elif number == signal.SIGHUP:
            _aside(actions.on_hangup)
        elif number == signal.SIGTSTP:
            _aside(actions.on_suspend).join(LAST_MESSAGES_SECONDS)
            os.kill(os.getpid(), signal.SIGSTOP)
        elif number == signal.SIGCONT and stopped_seconds > 2 * BEAT_SECONDS:
            actions.on_continue(stopped_seconds)

    def _stop_requested(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._requested_at is None:
            self._requested_at = time.monotonic()
            self._switch.set(StopRequest(f"{name} received", 128 + number))
            _aside(lambda: self._actions.on_first(name))
        elif time.monotonic() - self._requested_at >= SAME_REQUEST_SECONDS:
            _aside(lambda: self._actions.on_second(128 + number)).join(LAST_MESSAGES_SECONDS)
            self._actions.leave(128 + number)


def _aside(work: Callable[[], None]) -> threading.Thread:
    """Run `work` where it cannot hold up the watcher."""
    thread = threading.Thread(target=work, daemon=True, name="signal-messages")
    thread.start()
    return thread


def _ignore(number: int, frame: FrameType | None) -> None:
    """Replaces the default action; the watcher thread does the work."""
