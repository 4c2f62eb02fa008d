"""An engine between its launch and its first event: it has no lock yet, and may die without an event."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chomp.record.lock import is_running
from chomp.record.run_view import RunView
from chomp.record.status import Status


@dataclass(frozen=True)
class Launched:
    """An engine that this console started.

    Attributes:
        at: Unix time at which it was shown first.
        died: whether its process is gone.
    """

    pid: int
    at: float
    died: bool = False

    def looked_at(self) -> Launched:
        """The same after a look at the process table."""
        return self if self.died or is_running(self.pid) else replace(self, died=True)


def status_with(made: Status, view: RunView, launched: Launched | None, log_end: tuple[str, ...]) -> Status:
    """A run's status, with that of an engine that this console started and that has written no event yet."""
    if made.is_live:
        return made
    if launched is not None and (view.last_t or 0.0) < launched.at:
        if not launched.died:
            return Status("starting", "◐", "live", "starting engine (importing JAX)…")
        last = next((line.strip() for line in reversed(log_end) if line.strip()), "its log is empty, too")
        return Status("failed to start", "✗", "bad", last)
    return made
