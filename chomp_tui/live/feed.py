"""Follows a run directory: a thread tails its files and delivers frozen updates; never touches a widget."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chomp.errors import RunDirError
from chomp.record.columns import Columns
from chomp.record.run_view import RunView, with_rows
from chomp.record.rundir import RunDir, open_run
from chomp.record.status import Liveness, read_liveness
from chomp_tui.live.event_tail import EventTail
from chomp_tui.live.log_tail import LogTail
from chomp_tui.live.row_tail import RowTail
from chomp_tui.platform.poller import Poller

# The first slice is short, so that a first picture comes at once.
FIRST_SLICE_SECONDS = 0.05
SLICE_SECONDS = 0.3
DISK_EVERY_SECONDS = 5.0
DISK_NEWS = 0.02


@dataclass(frozen=True)
class RunUpdate:
    """What is known of a run now; `log_lines` are only those added since the last update.

    Attributes:
        view: everything, once `read_fraction` is 1. While long files are read, a coarse overview of them:
            the newest rows, rows from everywhere before them, and what happened at the beginning and the end.
        log_restarted: the log file became shorter or is another one: forget earlier lines.
        read_fraction: share of `events.jsonl` and `metrics.jsonl` read so far; 1.0 once the feed has caught up.
        problem: one sentence on why the run cannot be (wholly) read, else None.
        disk_free_bytes: of the disk that holds the run; None where unknown.
        parent_rows: of a fork, the rows of its parent up to the step at which it began.
    """

    run: RunDir
    view: RunView
    liveness: Liveness
    log_lines: tuple[str, ...] = ()
    log_restarted: bool = False
    read_fraction: float = 1.0
    problem: str | None = None
    disk_free_bytes: int | None = None
    parent_rows: Columns = field(default_factory=Columns.empty)


class RunFeed(Poller[RunUpdate]):
    """Follows one run.

    Args:
        path: the run directory; it may not exist yet.
        deliver: called in the feed's thread with each update; only when something changed.
    """

    def __init__(self, path: Path, deliver: Callable[[RunUpdate], None], *, interval_seconds: float = 0.5):
        super().__init__(deliver, interval_seconds=interval_seconds, name=f"feed {path.name}")
        self._follower = Follower(path)

    def look(self) -> Iterator[RunUpdate]:
        """Look until both files are read to their ends."""
        while True:
            try:
                update = self._follower.look()
            except Exception as error:  # noqa: BLE001 - a screen that silently stood still would look like a calm run
                yield self._follower.given_up(error)
                self.stop()
                return
            if update is not None:
                yield update
            if self.stopped or not self._follower.has_more:
                return
            # Lets the receiver of the update draw it.
            time.sleep(0.001)


class Follower:
    """One look after another at a run directory; what `RunFeed` does in its thread.

    Attributes:
        has_more: whether there is something to read at once.
    """

    def __init__(self, path: Path):
        self._path = path
        self._run = RunDir(path)
        self._config_seen: tuple[int, int] | None = None
        self._name_problem: str | None = None
        self._events = EventTail(self._run.events)
        self._rows = RowTail(self._run.metrics)
        self._log = LogTail(self._run.log)
        self._view = RunView()
        self._shown: tuple[RunView, Columns] | None = None
        self._sent: RunUpdate | None = None
        self._disk_free: int | None = None
        self._disk_looked_at = 0.0
        self._log_changed = False
        self.has_more = False

    def look(self) -> RunUpdate | None:
        """What is known now, or None if nothing has changed since the last update."""
        self._learn_names()
        # Before the events are read: an engine that is gone by now writes no more of them.
        liveness = read_liveness(self._run)
        self._read_on()
        log = self._log.read()
        update = RunUpdate(
            self._run,
            self._view,
            liveness,
            log.lines,
            log.restarted or self._log_changed,
            self._fraction(),
            self._problem(),
            self._look_at_disk(),
            self._rows.parent_rows,
        )
        self._log_changed = False
        if self._sent is not None and not _differs(self._sent, update):
            return None
        self._sent = update
        return update

    def _read_on(self) -> None:
        """Read on in both files: the rows last, so that those before an event that was read are read as well."""
        events, seconds = self._events, SLICE_SECONDS if self._sent else FIRST_SLICE_SECONDS
        events.look_over()
        events.advance(seconds)
        if self._rows.after != events.shown.forked_at:
            self._rows = RowTail(self._rows.path, events.shown.forked_at)
        rows = self._rows
        rows.look_over()
        # The first picture is drawn before pyarrow is imported.
        if self._sent is not None or rows.overview is None:
            rows.advance(seconds)
        self.has_more = not (events.caught_up and rows.caught_up)
        shown = events.shown, rows.shown
        if self._shown is None or shown[0] is not self._shown[0] or shown[1] is not self._shown[1]:
            self._shown, self._view = shown, with_rows(*shown)

    def _fraction(self) -> float:
        """Share of the files read so far; 1 only when nothing is left."""
        size = self._events.size + self._rows.size
        if not self.has_more or not size:
            return 1.0
        return min((self._events.offset + self._rows.offset) / size, 0.999)

    def given_up(self, error: Exception) -> RunUpdate:
        """The last update, with why there will be no other."""
        problem = f"the run is no longer followed ({type(error).__name__}: {error}); open it again"
        last = self._sent or RunUpdate(self._run, RunView(), Liveness())
        return dataclasses.replace(last, log_lines=(), log_restarted=False, problem=problem)

    def _learn_names(self) -> None:
        """Take the names of the run's files from its configuration, which an attempt may change."""
        try:
            info = self._run.config_resolved.stat()
        except OSError:
            return
        seen = (info.st_mtime_ns, info.st_size)
        if seen == self._config_seen:
            return
        self._config_seen = seen
        try:
            self._run, self._name_problem = open_run(self._path), None
        except (RunDirError, OSError) as error:
            self._run, self._name_problem = RunDir(self._path), str(error)
        if self._rows.path != self._run.metrics:
            self._rows = RowTail(self._run.metrics, self._rows.after)
        if self._log.path != self._run.log:
            self._log, self._log_changed = LogTail(self._run.log), True

    def _problem(self) -> str | None:
        tail = self._events
        if tail.problem is not None or self._rows.problem is not None:
            return tail.problem or self._rows.problem
        if not self._path.is_dir():
            return f"there is no run directory at {self._path}"
        if tail.newer:
            return f"{self._run.events.name} was written by a newer version of chomp: some of it may not be shown"
        if tail.malformed and tail.view.last_t is None and tail.caught_up:
            return f"{self._run.events} holds no events: it is damaged, or something else"
        if self._rows.malformed and not len(self._rows.rows) and self._rows.caught_up:
            return f"{self._run.metrics} holds no rows: it is damaged, or something else"
        return self._name_problem

    def _look_at_disk(self) -> int | None:
        now = time.monotonic()
        if self._disk_free is not None and now - self._disk_looked_at < DISK_EVERY_SECONDS:
            return self._disk_free
        self._disk_looked_at = now
        try:
            self._disk_free = shutil.disk_usage(self._path).free
        except OSError:
            self._disk_free = None
        return self._disk_free


def _differs(old: RunUpdate, new: RunUpdate) -> bool:
    """Whether `new` is worth an update; a disk that fills by a little is not."""
    if new.log_lines or new.log_restarted or old.view is not new.view:
        return True
    if (old.run, old.liveness, old.read_fraction, old.problem) != (
        new.run,
        new.liveness,
        new.read_fraction,
        new.problem,
    ):
        return True
    was, now = old.disk_free_bytes, new.disk_free_bytes
    if was is None or now is None:
        return was is not now
    return abs(was - now) > DISK_NEWS * was
