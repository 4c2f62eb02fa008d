"""The queue as rows: for `chomp queue list` and the console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chomp.queue.folder import Listing, QueueFolder
from chomp.queue.job import Job
from chomp.queue.schedule import waits_for
from chomp.record.formatting import one_line, short_name
from chomp.record.summary import RunSummary, SummaryReader

_FIRST = {"running": 0, "waiting": 1, "held": 1}


@dataclass(frozen=True)
class JobRow:
    """One job in a line.

    Attributes:
        state: of the job; `saving` for one whose engine is asked to end.
        when: since when it runs, what it waits for, or how it ended.
        summary: of its run, None before its first start.
    """

    job: Job
    state: str
    when: str
    summary: RunSummary | None = None

    @property
    def run(self) -> str:
        """Name of the run's directory."""
        return (self.job.run_dir or "").rpartition("/")[2]

    @property
    def device(self) -> str:
        """What it trains on, or trained on last."""
        return (
            self.job.attempts[-1].place if self.job.attempts else f"{self.job.gpus} GPUs" if self.job.gpus > 1 else ""
        )

    @property
    def progress(self) -> str:
        """`step 1,200/10,000`."""
        found = self.summary
        if found is None or found.total_steps is None:
            return ""
        return f"{found.step:,}/{found.total_steps:,}"


@dataclass
class RunSummaries:
    """Summaries of runs; each is read again only as far as its files have grown."""

    _readers: dict[Path, SummaryReader] = field(default_factory=dict)

    def of(self, queue: QueueFolder, job: Job) -> RunSummary | None:
        """The summary of a job's run; None where there is no run."""
        if job.run_dir is None:
            return None
        path = queue.resolve(job.run_dir)
        try:
            return self._readers.setdefault(path, SummaryReader(path)).read()
        except OSError:
            return None


def rows_of(queue: QueueFolder, listing: Listing, summaries: RunSummaries) -> list[JobRow]:
    """All jobs: first those that run, then by their order, the ended ones last."""
    now = datetime.now().astimezone()
    jobs = sorted(listing.jobs, key=lambda job: (_FIRST.get(job.state, 2), not job.urgent, job.order, job.id))
    return [JobRow(job, _state(job), describe(job, listing.jobs, now), summaries.of(queue, job)) for job in jobs]


def _state(job: Job) -> str:
    return "saving" if job.state == "running" and job.wish is not None else str(job.state)


def describe(job: Job, jobs: Sequence[Job], now: datetime) -> str:
    """Since when a job runs, what it waits for, or how it ended."""
    if job.state == "running":
        then = {"waiting": "then waits", "held": "then held", "removed": "then removed"}
        more = f", {then.get(job.wish.then, job.wish.why)}" if job.wish is not None else ""
        return f"{_since(job.attempts[-1].began, now) if job.attempts else ''}{more}"
    if job.state == "waiting":
        waiting = waits_for(job, jobs, (), now)
        return f"{waiting} · {job.reason}" if job.reason else waiting
    return job.reason


def _since(began: datetime, now: datetime) -> str:
    """`since 22:41`, with the date if that is another day's; it does not change while nothing happens."""
    local = began.astimezone()
    return f"since {local:%H:%M}" if local.date() == now.date() else f"since {local:%Y-%m-%d %H:%M}"


def jobs_of_runs(queue: QueueFolder, runs: Iterable[Path]) -> dict[Path, str]:
    """The newest job of each run, or the trial of a sweep that it is, in words; runs without one are left out.

    Raises:
        QueueError: the folder cannot be read.
    """
    jobs = sorted(queue.read().jobs, key=lambda job: job.id)
    of_runs = {queue.resolve(job.run_dir).resolve(): job for job in jobs if job.run_dir is not None}
    return {path: _origin(job) for path in runs if (job := of_runs.get(path.resolve())) is not None}


def _origin(job: Job) -> str:
    if job.sweep is not None:
        return f"Trial {job.trial} of the sweep {job.sweep}, job {job.id} of the queue."
    return f"Job {job.title} of the queue."


def job_lines(rows: Iterable[JobRow]) -> list[str]:
    """The rows as aligned lines."""
    cells = [
        (
            f"{row.job.id:>4}",
            row.state + (" !" if row.job.urgent else ""),
            short_name(row.job.name),
            short_name(row.run),
            row.progress,
            row.device,
            one_line(row.when),
        )
        for row in rows
    ]
    widths = [max((len(cell[place]) for cell in cells), default=0) for place in range(6)]
    return [
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[6]]).rstrip() for line in cells
    ]


def row_of(queue: QueueFolder, job: Job, listing: Listing) -> dict[str, Any]:
    """One job as `--json` prints it."""
    now = datetime.now().astimezone()
    found = RunSummaries().of(queue, job)
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "reason": job.reason or None,
        "when": describe(job, listing.jobs, now),
        "urgent": job.urgent,
        "run": str(queue.resolve(job.run_dir)) if job.run_dir is not None else None,
        "step": found.step if found else 0,
        "total_steps": found.total_steps if found else None,
        "loss": found.loss if found else None,
        "eval_loss": found.eval_loss if found else None,
        "device": job.attempts[-1].place if job.attempts else None,
        "attempts": len(job.attempts),
        "kills": job.kills,
        "sweep": job.sweep,
        "trial": job.trial,
    }
