"""Looks at the queue and its sweeps, and delivers what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chomp.errors import ChompError
from chomp.queue.folder import QueueFolder, Unreadable
from chomp.queue.process import runner_of
from chomp.queue.table import JobRow, RunSummaries, rows_of
from chomp.sweep.folder import list_sweeps
from chomp.sweep.report import SweepReport, read_report
from chomp_tui.platform.poller import Poller

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue at one time.

    Attributes:
        runner: pid of its runner; None if it has none.
        problem: why it cannot be read.
        broken: by name of a sweep, why it cannot be read.
    """

    jobs: tuple[JobRow, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    sweeps: tuple[SweepReport, ...] = ()
    broken: dict[str, str] = field(default_factory=dict)
    runner: int | None = None
    problem: str = ""


class QueueWatch(Poller[QueueSnapshot]):
    """Delivers a snapshot whenever something has changed."""

    def __init__(self, path: Path, deliver: Callable[[QueueSnapshot], None]) -> None:
        super().__init__(deliver, interval_seconds=LOOK_SECONDS, name="queue")
        self._queue = QueueFolder(path)
        self._summaries = RunSummaries()
        self._last: QueueSnapshot | None = None

    def look(self) -> Iterator[QueueSnapshot]:
        found = self._read()
        if found != self._last:
            self._last = found
            yield found

    def _read(self) -> QueueSnapshot:
        reports: list[SweepReport] = []
        broken: dict[str, str] = {}
        try:
            listing = self._queue.read()
            for sweep in list_sweeps(self._queue):
                try:
                    reports.append(read_report(sweep))
                except ChompError as error:
                    broken[sweep.name] = str(error)
            runner = runner_of(self._queue)
            jobs = tuple(rows_of(self._queue, listing, self._summaries))
        except ChompError as error:
            return QueueSnapshot(problem=str(error))
        return QueueSnapshot(jobs, listing.unreadable, tuple(reports), broken, runner.pid if runner else None)
