"""Textual's terminal driver, with recovery from SIGSTOP."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver


class ConsoleDriver(LinuxDriver):
    """Textual's driver; after SIGSTOP and SIGCONT it is in application mode once, as before.

    Needed with Textual 8.2.8: its `_sigcont_application` calls `resume_application_mode` after every SIGCONT, although
    only `_sigtstp_application` has left that mode. After a SIGSTOP, of which no program is told, two threads each
    would read keys and write, and the terminal's attributes to restore at the end would be those of application mode.
    Needless once Textual resumes only what it has suspended.
    """

    def _sigcont_application(self, *_: object) -> None:
        is_suspended = self._must_signal_resume
        if self._auto_restart and not is_suspended:
            self.suspend_application_mode()
            self._must_signal_resume = True
        super()._sigcont_application()
