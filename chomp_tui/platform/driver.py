"""The terminal driver: Textual's, which also comes back well from a stop that nobody announced."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver


class ConsoleDriver(LinuxDriver):
    """Textual's own; after SIGSTOP and SIGCONT it holds the terminal once, as before.

    Textual enters its mode on each SIGCONT, as if it had left it. Who is stopped by SIGSTOP, which no program is told
    of, has not: it would read keys and write from two threads each, and take the attributes of its own mode for those
    that it has to restore in the end.
    """

    def _sigcont_application(self, *_: object) -> None:
        was_told = self._must_signal_resume
        if self._auto_restart and not was_told:
            self.suspend_application_mode()
            self._must_signal_resume = True
        super()._sigcont_application()
