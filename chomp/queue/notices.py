"""What the runner notifies people of: what an engine that was killed, or never began, cannot send itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from chomp.config.load import parse_config, parse_resolved
from chomp.config.notify import NotifyConfig
from chomp.errors import ChompError
from chomp.notify.notice import Notice
from chomp.notify.once import OnceNotifier, fact_id
from chomp.notify.watch import RunWatch
from chomp.queue.endings import run_of
from chomp.queue.folder import Listing, QueueFolder
from chomp.queue.job import Job
from chomp.record.rundir import RunDir

Kind = Literal["killed", "crashed", "queue_empty"]


class QueueNotices:
    """Sends notices as the `notify` section of each job says; a job whose section cannot be used sends none.

    Args:
        say: writes a line to the runner's log.
    """

    def __init__(self, queue: QueueFolder, say: Callable[[str], None]):
        self._queue = queue
        self._say = say
        self._notifiers: dict[str, OnceNotifier] = {}
        self._is_first_look = True
        self._watches: dict[int, RunWatch] = {}

    def send(self, kind: Kind, job: Job, reason: str, fact: str | None = None) -> None:
        """Send a notice about a job, or that it was the last one.

        Args:
            fact: what the notice tells of the job's run, by a name that is the same in other processes; None where
                only this one knows it.
        """
        run = self._queue.resolve(job.run_dir or job.name)
        if kind == "queue_empty":
            self._send(job, Notice(kind, str(self._queue.path.absolute()), reason), None)
            return
        notice = Notice(kind, run.name, reason, str(run))
        self._send(job, notice if fact is None else replace(notice, id=fact_id(run, fact)), run)

    def look(self, listing: Listing) -> None:
        """Send that a run does nothing; that it was killed is sent when its job is settled."""
        for job in listing.jobs:
            # A runner that was killed may have left notices of jobs that have ended meanwhile.
            if job.run_dir is not None and (job.state == "running" or self._is_first_look):
                self._take_over(job, self._queue.resolve(job.run_dir))
        self._is_first_look = False
        running = {job.id: job for job in listing.jobs if job.state == "running" and job.run_dir is not None}
        self._watches = {number: watch for number, watch in self._watches.items() if number in running}
        for number, job in running.items():
            path = self._queue.resolve(job.run_dir or "")
            watch = self._watches.get(number)
            if watch is None or watch.path != path:
                watch = self._watches[number] = RunWatch(path)
            try:
                notice = watch.look()
            except OSError:
                # A disk that does not answer for a moment.
                continue
            if notice is not None and notice.kind == "stalled":
                self._send(job, notice, path)

    def _take_over(self, job: Job, run: Path) -> None:
        if RunDir(run).notices.exists() and (once := self._notifier(job)) is not None:
            for notice in once.take_over(RunDir(run)):
                self._say(f"notice of job {job.title}: {notice.kind}, of a process that was killed")

    def _send(self, job: Job, notice: Notice, run: Path | None) -> None:
        once = self._notifier(job)
        if once is None:
            return
        if once.notifier.send(notice) if run is None else once.send(RunDir(run), notice):
            self._say(f"notice of job {job.title}: {notice.kind}")
        for failure in once.notifier.take_failures():
            self._say(failure)

    def _notifier(self, job: Job) -> OnceNotifier | None:
        try:
            settings = self._settings(job)
            key = json.dumps(settings.model_dump(mode="json"))
            if key not in self._notifiers:
                self._notifiers[key] = OnceNotifier(settings)
        except ChompError as error:
            self._say(f"job {job.title} cannot send a notice: {error}")
            return None
        return self._notifiers[key]

    def _settings(self, job: Job) -> NotifyConfig:
        if job.config is not None:
            return parse_config(job.config, source=job.source, overrides=job.overrides).config.notify
        run = run_of(self._queue.resolve(job.run_dir or ""))
        return parse_resolved(run.load_resolved(), source=run.name, overrides=job.overrides).config.notify

    def close(self) -> None:
        """Wait for notices that are on their way."""
        for once in self._notifiers.values():
            once.notifier.close()
