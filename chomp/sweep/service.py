"""What the runner of a queue does: jobs, sweeps, notices."""

from __future__ import annotations

from collections.abc import Callable

from chomp.queue.folder import QueueFolder
from chomp.queue.notices import QueueNotices
from chomp.queue.runner import Runner
from chomp.sweep.driver import SweepDriver


class QueueService:
    """One look after another, until the runner ends.

    Args:
        say: writes a line to the runner's log.
    """

    def __init__(self, queue: QueueFolder, say: Callable[[str], None]):
        self._queue = queue
        self._notices = QueueNotices(queue, say)
        self._sweeps = SweepDriver(queue, say)
        self._runner = Runner(queue, say, tell=self._notices.send)

    def look(self) -> None:
        """Do what is to be done now.

        Raises:
            ChompError, OSError: something cannot be read or written.
        """
        self._sweeps.look()
        self._runner.look()
        self._notices.look(self._queue.read())

    def close(self) -> None:
        """Wait for notices that are on their way."""
        self._notices.close()
