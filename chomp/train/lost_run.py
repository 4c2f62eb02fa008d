"""The end of a run whose leader may not write it: the leader is lost, or cannot write its event log."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from chomp.errors import ProcessLostError, command_name
from chomp.parallel.world import TOGETHER_SECONDS
from chomp.record.ending import end_for_leader, leader_ends
from chomp.train.outcome import Outcome
from chomp.train.reporting import LastStep, tell
from chomp.train.request import Claim, RunRequest

EXIT_CODE = ProcessLostError.exit_code
# How long the leader may take to write the last event, while it lives: one that knows of it, and one that has yet to
# hear of the failure of a process and to wait whether others fail alike.
LEADER_SECONDS = 1.0
ALONE_SECONDS = TOGETHER_SECONDS + 2.0

log = logging.getLogger("chomp.attempt")


def turn_of(request: RunRequest, claim: Claim) -> Callable[[], AbstractContextManager[bool]] | None:
    """Whether this process may publish the end of the run; None where no other process writes it."""
    shares = request.world.is_leader and not (request.world.is_alone or request.dry_run)
    return partial(leader_ends, claim.files) if shares else None


def end_of_lost(request: RunRequest, claim: Claim, last: LastStep, sentence: str) -> None:
    """Publish the end of a run that lost a process."""
    resume = f"{command_name()} train --run-dir {shlex.quote(str(claim.run.path))} --resume latest"
    outcome = Outcome("crashed", f"{sentence}; `{resume}` in every process continues the run", EXIT_CODE, last.step)
    last.publish_end(outcome)
    if not request.world.is_leader:
        end_in_place(request, claim, last, outcome)
    elif claim.ended_by is not None:
        tell(f"{sentence}; nothing more was written")


def end_in_place(request: RunRequest, claim: Claim, last: LastStep, outcome: Outcome) -> None:
    """Write the end of the run if the leader has not; called by the other processes.

    What ends all, the leader has written before it met the others, if it could. Of a process that ends alone it hears
    first, and waits whether all do.
    """
    world = request.world
    if world.is_leader or request.dry_run:
        return
    leader = world.members[0]
    try:
        if end_for_leader(
            claim.files,
            (leader.pid, leader.host),
            last.end(outcome),
            str(world.members[world.index]),
            within=ALONE_SECONDS if world.is_parted else LEADER_SECONDS,
        ):
            log.warning("%s has not written the end of the run; this process did", leader)
    except OSError as error:
        log.error("the end of the run could not be written: %s", error.strerror)
