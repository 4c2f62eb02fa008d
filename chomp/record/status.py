"""A run's status in words: the same in the console's list of runs, in its run view and in `chomp runs`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from chomp.record.formatting import since
from chomp.record.lock import is_suspended, live_holder, read_holder
from chomp.record.run_view import JOBS, RunView
from chomp.record.rundir import RunDir

Tone = Literal["live", "good", "warn", "bad", "idle"]

PAUSED = "p in the run view resumes"
COPIED = "a copy: the engine still runs in the original directory"
GONE = "the engine ended without a last event: killed, or the machine went down"
MISSING = "there is no directory at this path: it was renamed, moved or removed"

# How the reason of a run begins that `train.max_seconds` ended.
TIME_LIMIT = "time limit reached"

# A live engine is called silent after so many seconds without an event, by its phase: reading a corpus and compiling a
# large model take minutes and write no events.
PATIENCE_SECONDS = {"data": 3600.0, "compile": 3600.0, "eval": 600.0, "sample": 600.0, "save": 600.0}
PATIENCE_BEFORE_ROWS_SECONDS = 600.0
# A row is late after ten times the usual time between two, and never before this.
LATE_ROWS = 10
LEAST_PATIENCE_SECONDS = 30.0
RECENT_ROWS = 50


@dataclass(frozen=True)
class Liveness:
    """What the lock file and the process table say; `elsewhere` names another machine that may hold the run.

    Attributes:
        pid: of the engine that holds the run on this machine.
        since: Unix time at which the engine that wrote the lock was started, None where the lock names none.
        is_copy: whether the engine that the lock names trains in another directory, of which this one is a copy.
        is_missing: whether there is no directory at the path.
        is_suspended: whether the engine of `pid` is stopped until SIGCONT.
    """

    pid: int | None = None
    elsewhere: str | None = None
    since: float | None = None
    is_copy: bool = False
    is_missing: bool = False
    is_suspended: bool = False


@dataclass(frozen=True)
class Status:
    """A run's state for people: `word` and `glyph` say the same, `tone` names its colour, `reason` says why.

    Attributes:
        is_live: whether an engine on this machine holds the run and can be steered.
        state: the same for programs: `new`, `running`, or how the run ended (`status` of `run_ended`); `unreadable`.
    """

    word: str
    glyph: str
    tone: Tone
    reason: str = ""
    is_live: bool = False
    state: str = "running"


_PHASES: dict[str, tuple[str, str]] = {
    "data": ("reading data", "◐"),
    "compile": ("compiling", "◐"),
    "train": ("training", "●"),
    "eval": ("evaluating", "◐"),
    "sample": ("sampling", "◐"),
    "save": ("saving", "◐"),
}
_ENDINGS: dict[str, tuple[str, str, Tone]] = {
    "completed": ("completed", "✓", "good"),
    "stopped": ("stopped", "■", "idle"),
    "data_exhausted": ("out of text", "■", "good"),
    "crashed": ("crashed", "✗", "bad"),
}


def read_liveness(run: RunDir) -> Liveness:
    """Read the lock file and the process table."""
    holder = live_holder(run.lock)
    if holder is not None:
        return Liveness(pid=holder.pid, since=holder.started, is_suspended=is_suspended(holder.pid))
    named = read_holder(run.lock)
    if named is not None and not named.is_here():
        return Liveness(elsewhere=named.host, since=named.started)
    # A live engine that does not hold this lock holds that of the original.
    return Liveness(is_copy=named is not None and named.is_alive(), is_missing=not run.path.is_dir())


def status(view: RunView, liveness: Liveness, now: float) -> Status:
    """The state of a run at Unix time `now`."""
    if liveness.pid is not None:
        return _alive(view, liveness, now)
    found = _not_alive(view, liveness)
    if view.refused is not None:
        return replace(found, tone="bad", reason=f"it was not resumed: {view.refused.reason}")
    return found


def _not_alive(view: RunView, liveness: Liveness) -> Status:
    if liveness.is_missing:
        return Status("missing", "?", "bad", MISSING, state="unreadable")
    begun = view.started is not None or view.phase is not None
    if liveness.elsewhere is not None and (view.ended is None or _arrived_after(view.ended.t, liveness)):
        reason = f"on {liveness.elsewhere}; this machine cannot tell whether it still runs"
        return Status("elsewhere", "?", "idle", reason)
    if view.ended is not None:
        return _ended(view)
    if begun and liveness.is_copy:
        return Status("stopped", "■", "idle", COPIED, state="stopped")
    if begun:
        return Status("crashed", "✗", "bad", GONE, state="crashed")
    return Status("not started", "…", "idle", "no engine has written here yet", state="new")


def _arrived_after(t: float, liveness: Liveness) -> bool:
    """Whether the engine that holds the run was started after `t`, so that an event of that time is not its own."""
    return liveness.since is not None and liveness.since > t


def _ended(view: RunView) -> Status:
    assert view.ended is not None
    word, glyph, tone = _ENDINGS.get(view.ended.status, (view.ended.status or "ended", "?", "idle"))
    return Status(word, glyph, tone, view.ended.reason, state=view.ended.status or "ended")


def _alive(view: RunView, liveness: Liveness, now: float) -> Status:
    if liveness.is_suspended:
        return Status("suspended", "‖", "warn", f"`kill -CONT {liveness.pid}` continues it", is_live=True)
    last_t = view.last_t or 0.0
    if view.phase is None and view.ended is not None and not _arrived_after(last_t, liveness):
        # It has written its last event and is about to exit.
        return _ended(view)
    if view.phase is None or _arrived_after(last_t, liveness):
        return Status("starting", "◐", "live", "starting engine (importing JAX)…", is_live=True)
    name = view.phase.name
    if name == "paused":
        return Status("paused", "‖", "warn", PAUSED, is_live=True)
    silence = now - last_t
    if last_t and silence > patience_seconds(view):
        reason = f"the engine runs, but has written no event for {since(silence)}"
        return Status("silent", "?", "warn", reason, is_live=True)
    word, glyph = _PHASES.get(name, (str(name)[:20] or "running", "●"))
    if view.is_paused and name in JOBS:
        word += " (paused)"
    return Status(word, glyph, "live", is_live=True)


def patience_seconds(view: RunView) -> float:
    """After how many seconds without an event a live engine is silent, judged by its own pace."""
    name = view.phase.name if view.phase is not None else "train"
    if name in ("eval", "sample", "save"):
        usual = view.evals.last("seconds") if name == "eval" else None
        return max(PATIENCE_SECONDS[name], LATE_ROWS * (usual or 0.0))
    if name in PATIENCE_SECONDS:
        return PATIENCE_SECONDS[name]
    usual = _usual_row_seconds(view)
    return PATIENCE_BEFORE_ROWS_SECONDS if usual is None else max(LEAST_PATIENCE_SECONDS, LATE_ROWS * usual)


def _usual_row_seconds(view: RunView) -> float | None:
    """Median seconds between the last rows, None before the third."""
    gaps = np.diff(view.rows["t"][-RECENT_ROWS:])
    gaps = gaps[gaps >= 0]
    return float(np.median(gaps)) if len(gaps) >= 2 else None
