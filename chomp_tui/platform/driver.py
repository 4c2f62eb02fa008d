"""The terminal driver: Textual's, mended for stop signals and for a terminal that closes without a hang-up signal."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from typing import Any

from textual.drivers.linux_driver import LinuxDriver

from chomp_tui.platform.attention import attention

POLL_SECONDS = 1.0


class ConsoleDriver(LinuxDriver):
    """Textual's own driver with three cases more.

    SIGSTOP and SIGCONT: Textual 8.2.8 calls `resume_application_mode` after every SIGCONT, although only
    `_sigtstp_application` has left that mode. After a SIGSTOP, of which no program is told, two threads each would read
    keys and write, and the terminal's attributes to restore at the end would be those of application mode. Needless
    once Textual resumes only what it has suspended.

    A signal while the main thread writes: Textual 8.2.8 leaves and takes the terminal inside its signal handlers, which
    write to a queue. A handler that interrupts a write to that queue waits for the lock that its own thread holds, and
    the console never paints again. Here the event loop leaves and takes the terminal, between two of its callbacks.

    A closed terminal: SIGHUP ends the console, but it does not arrive under `nohup`, or where the terminal is not the
    session's own (some containers). `run_input_thread` of Textual 8.2.8 then reads an end of file in a loop that takes
    a whole core from training. Needless once that loop ends at an end of file.
    """

    _is_watched = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(*args, **kwargs)

    def _sigtstp_application(self, *_: object) -> None:
        if self._auto_restart and self._loop.is_running():
            self._loop.call_soon_threadsafe(super()._sigtstp_application)
        else:
            # The loop waits for a program that has the terminal, such as an editor, or has ended.
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: object) -> None:
        if self._auto_restart and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._take_terminal_again)

    def _take_terminal_again(self) -> None:
        if not self._must_signal_resume:
            self.suspend_application_mode()
            self._must_signal_resume = True
        self.resume_application_mode()

    def call_attention(self, text: str) -> None:
        """Ring the bell, and show a notification where the terminal has them."""
        self.write(attention(text, os.environ))
        self.flush()

    def start_application_mode(self) -> None:
        """Take the terminal; from the first time on, its closing ends the process as SIGHUP does."""
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._exit_with_terminal, daemon=True, name="terminal-watch").start()
        super().start_application_mode()

    def _exit_with_terminal(self) -> None:
        terminal = select.poll()
        # No events: the kernel reports a closed terminal (POLLHUP) in any case.
        terminal.register(self.fileno, 0)
        while not any(found & select.POLLHUP for _, found in terminal.poll()):
            # A descriptor that cannot be polled so (macOS) is answered at once, with another event.
            time.sleep(POLL_SECONDS)
        os._exit(128 + signal.SIGHUP)
