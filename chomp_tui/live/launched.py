"""An engine between its launch and its first word: it has no lock yet, and may die before it can say why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil

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
        return self if self.died or lives(self.pid) else replace(self, died=True)


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def status_with(made: Status, view: RunView, launched: Launched | None, log_end: tuple[str, ...]) -> Status:
    """A run's status, with what is known of an engine that has not spoken yet or was refused."""
    if made.is_live:
        return made
    if launched is not None and (view.last_t or 0.0) < launched.at:
        if not launched.died:
            return Status("starting", "◐", "live", "the engine's process runs and has said nothing yet")
        last = next((line.strip() for line in reversed(log_end) if line.strip()), "it left no word in its log either")
        return Status("failed to start", "✗", "bad", last)
    if view.refused is not None:
        return replace(made, tone="bad", reason=f"it was not resumed: {view.refused.reason}")
    return made
