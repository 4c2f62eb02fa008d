"""What the runner notifies people of: what an engine that was killed, or never began, cannot send itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

from chomp.config.load import parse_config, parse_resolved
from chomp.config.notify import NotifyConfig
from chomp.errors import ChompError
from chomp.notify.notice import Notice
from chomp.notify.notifier import Notifier, open_notifier
from chomp.notify.watch import RunWatch
from chomp.queue.endings import run_of
from chomp.queue.folder import Listing, QueueFolder
from chomp.queue.job import Job

Kind = Literal["killed", "crashed", "queue_empty"]


class QueueNotices:
    """Sends notices as the `notify` section of each job says; a job whose section cannot be used sends none.

    Args:
        say: writes a line to the runner's log.
    """

    def __init__(self, queue: QueueFolder, say: Callable[[str], None]):
        self._queue = queue
        self._say = say
        self._notifiers: dict[str, Notifier] = {}
        self._watches: dict[int, RunWatch] = {}

    def send(self, kind: Kind, job: Job, reason: str) -> None:
        """Send a notice about a job, or that it was the last one."""
        run = self._queue.resolve(job.run_dir or job.name)
        name = str(self._queue.path.absolute()) if kind == "queue_empty" else run.name
        self._send(job, Notice(kind, name, reason, "" if kind == "queue_empty" else str(run)))

    def look(self, listing: Listing) -> None:
        """Send that a run does nothing; that it was killed is sent when its job is settled."""
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
                self._send(job, notice)

    def _send(self, job: Job, notice: Notice) -> None:
        try:
            settings = self._settings(job)
            key = json.dumps(settings.model_dump(mode="json"))
            if key not in self._notifiers:
                self._notifiers[key] = open_notifier(settings)
        except ChompError as error:
            self._say(f"job {job.title} cannot send a notice: {error}")
            return
        notifier = self._notifiers[key]
        if notifier.send(notice):
            self._say(f"notice of job {job.title}: {notice.kind}")
        for failure in notifier.take_failures():
            self._say(failure)

    def _settings(self, job: Job) -> NotifyConfig:
        if job.config is not None:
            return parse_config(job.config, source=job.source, overrides=job.overrides).config.notify
        run = run_of(self._queue.resolve(job.run_dir or ""))
        return parse_resolved(run.load_resolved(), source=run.name, overrides=job.overrides).config.notify

    def close(self) -> None:
        """Wait for notices that are on their way."""
        for notifier in self._notifiers.values():
            notifier.close()
