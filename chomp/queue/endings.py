"""How the engine of a job ended, by what its run directory says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chomp.errors import ChompError
from chomp.queue.job import Attempt
from chomp.record.event_log import EventReader
from chomp.record.events import RunEnded, RunStarted
from chomp.record.formatting import one_line
from chomp.record.manifest import checkpoint_steps
from chomp.record.rundir import RunDir, open_run
from chomp.record.status import TIME_LIMIT
from chomp.record.tail import last_row_t

# Signals that end a process have exit codes from here on: what ends with a machine is resumed, like what was killed.
FIRST_SIGNAL_CODE = 128
LOG_BYTES = 1 << 16
NOTHING_TRAINED = "and the first step was not reached: allow more time"
_ERROR = re.compile(r"^(?:error: )(.*)", re.MULTILINE)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        kind: `time` is the end of its time, `stopped` the user's stop, `killed` an end without a last event, or by a
            signal.
        reason: in words.
        has_begun: whether it had begun to train, so that the run can be resumed.
        t: Unix time of the last sign of it.
        was_told: whether the engine wrote a last event.
    """

    kind: Literal["completed", "time", "stopped", "failed", "killed"]
    reason: str
    has_begun: bool
    t: float
    was_told: bool = False


def run_of(path: Path) -> RunDir:
    """The run in a job's directory, which may not have begun."""
    try:
        return open_run(path)
    except ChompError:
        return RunDir(path)


def has_trained(path: Path, first: Attempt, reached: int = 0) -> bool:
    """Whether something is left of what the attempts of a job have trained.

    Args:
        path: the run directory.
        first: the job's first attempt.
        reached: the step at which the newest attempt ended, if it began to train.
    """
    run = run_of(path)
    begun = (event for event in EventReader(run.events, offset=first.events_bytes).read())
    start = next((event.resumed_from or 0 for event in begun if isinstance(event, RunStarted)), None)
    return start is not None and max([reached, *checkpoint_steps(run.checkpoints)]) > start


def read_ending(path: Path, attempts: Sequence[Attempt], exit_code: int | None) -> Ending:
    """How the newest attempt in the run directory `path` ended; one that its limit ended before a first step failed.

    Args:
        attempts: of the job.
        exit_code: of its process, negative for a signal; None where this process did not start it.
    """
    run, attempt = run_of(path), attempts[-1]
    ended: RunEnded | None = None
    has_begun, t = False, 0.0
    for event in EventReader(run.events, offset=attempt.events_bytes).read():
        t = event.t
        if isinstance(event, RunStarted):
            has_begun, ended = True, None
        elif isinstance(event, RunEnded):
            ended = event
    if ended is not None:
        kind, reason = _kind(ended), one_line(ended.reason)
        if kind == "time" and not has_trained(path, attempts[0], ended.step if has_begun else 0):
            kind, reason = "failed", f"{reason}, {NOTHING_TRAINED}"
        return Ending(kind, reason, has_begun, ended.t, was_told=True)
    t = max(t, last_row_t(run.metrics) or 0.0) if has_begun else t
    said = _last_error(run.log, attempt.log_bytes)
    if exit_code is not None and exit_code < 0:
        return Ending("killed", f"killed by signal {-exit_code}", has_begun, t)
    if said is not None or exit_code:
        return Ending("failed", said or f"the engine ended with code {exit_code} and said nothing", has_begun, t)
    return Ending("killed", "the engine ended without a last event: killed, or the machine went down", has_begun, t)


def _kind(ended: RunEnded) -> Literal["completed", "time", "stopped", "failed", "killed"]:
    if ended.status in ("completed", "data_exhausted"):
        return "completed"
    if ended.status != "stopped":
        return "failed"
    if ended.reason.startswith(TIME_LIMIT):
        return "time"
    return "killed" if ended.exit_code >= FIRST_SIGNAL_CODE else "stopped"


def _last_error(log: Path, start: int) -> str | None:
    """The last sentence of an engine that ended before it could write an event."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - LOG_BYTES))
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    found = _ERROR.findall(text)
    return one_line(found[-1]) if found else None
