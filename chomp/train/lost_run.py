"""The end of a run that lost a process."""

from __future__ import annotations

import contextlib
import shlex

from chomp.errors import ProcessLostError, RunDirError, command_name
from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import RunEnded
from chomp.record.lock import RunLock
from chomp.train.outcome import Outcome
from chomp.train.reporting import LastStep
from chomp.train.request import Claim, RunRequest

EXIT_CODE = ProcessLostError.exit_code


def end_of_lost(request: RunRequest, claim: Claim, last: LastStep, sentence: str) -> None:
    """Publish the end of a run that lost a process; in place of a leader that is gone, the first that sees it does."""
    resume = f"{command_name()} train --run-dir {shlex.quote(str(claim.run.path))} --resume latest"
    outcome = Outcome("crashed", f"{sentence}; `{resume}` in every process continues the run", EXIT_CODE, last.step)
    last.publish_end(outcome)
    if request.world.is_leader or request.dry_run:
        return
    lock = RunLock(claim.run.lock)
    # Held by a leader that lives; it writes the end itself.
    with contextlib.suppress(RunDirError, OSError):
        lock.acquire()
        try:
            events = read_events(claim.run.events)
            if events and not isinstance(events[-1], RunEnded):
                writer = EventWriter(claim.files.events)
                writer.write(RunEnded("crashed", outcome.reason, outcome.step, EXIT_CODE))
                writer.close()
        finally:
            lock.release()
