"""The terminal driver: Textual's, mended for SIGSTOP and for a terminal that closes without a hang-up signal."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

from textual.drivers.linux_driver import LinuxDriver

from chomp_tui.platform.attention import attention

POLL_SECONDS = 1.0


class ConsoleDriver(LinuxDriver):
    """Textual's own driver with two cases more.

    SIGSTOP and SIGCONT: Textual 8.2.8 calls `resume_application_mode` after every SIGCONT, although only
    `_sigtstp_application` has left that mode. After a SIGSTOP, of which no program is told, two threads each would read
    keys and write, and the terminal's attributes to restore at the end would be those of application mode. Needless
    once Textual resumes only what it has suspended.

    A closed terminal: SIGHUP ends the console, but it does not arrive under `nohup`, or where the terminal is not the
    session's own (some containers). `run_input_thread` of Textual 8.2.8 then reads an end of file in a loop that takes
    a whole core from training. Needless once that loop ends at an end of file.
    """

    _is_watched = False

    def _sigcont_application(self, *_: object) -> None:
        is_suspended = self._must_signal_resume
        if self._auto_restart and not is_suspended:
            self.suspend_application_mode()
            self._must_signal_resume = True
        super()._sigcont_application()

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
