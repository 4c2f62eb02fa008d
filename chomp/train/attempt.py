"""One engine process from the command line to its exit code."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import time
from pathlib import Path

from chomp.errors import ChompError, RunDirError
from chomp.record.commands import CommandReader
from chomp.record.event_log import EventWriter
from chomp.record.events import Event, Phase, RolledBack, RunEnded, RunStarted, Step, Warned
from chomp.record.lock import RunLock
from chomp.record.rundir import RunDir
from chomp.record.text import sanitize
from chomp.sinks import ConsoleSink, QueuedSink, Reporter, RowFiles, Sink, build_trackers
from chomp.train.clock import TimeBudget
from chomp.train.compilation import use_compilation_cache
from chomp.train.control import AbortRequestedError, CommandQueue, SignalWatcher, StopRequestedError, StopSwitch
from chomp.train.logs import log_to_file
from chomp.train.loop import NOTHING_NEW, Outcome, aborted, train
from chomp.train.request import RunRequest, choose_run_dir, require_room
from chomp.train.session import Session, build_session

log = logging.getLogger("chomp.attempt")


def run_training(request: RunRequest) -> int:
    """Train as `request` asks; returns the exit code (DESIGN: 0, 2–6, 130, 143).

    Raises:
        ChompError: nothing was started: the run directory, its lock or a tracker is at fault.
    """
    use_compilation_cache()
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="chomp-dry-run-") as folder:
            return _attempt(request, RunDir(Path(folder) / "run"))
    return _attempt(request, choose_run_dir(request))


def _attempt(request: RunRequest, run: RunDir) -> int:
    lock = RunLock(run.lock)
    made = not run.path.exists()
    ours = [path for path in (run.events, run.log, run.lock) if not path.exists()]
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _cannot_write(run, error) from error
    exit_code = 2
    try:
        # Asked again under the lock: another engine may have begun, and ended, since the directory was chosen.
        require_room(request, run)
        exit_code = _locked(request, run)
    finally:
        # Still under the lock: what is removed is this attempt's and nobody else's.
        if exit_code == 2 and not run.is_started():
            _remove_traces(run, ours, made)
        lock.release()
    return exit_code


def _locked(request: RunRequest, run: RunDir) -> int:
    """The attempt of an engine that holds the run's lock."""
    began = time.time()
    sinks = _sinks(request, run)
    try:
        log_to_file(run.log, request.loaded.config.logging.level)
        reporter = Reporter(EventWriter(run.events), sinks)
    except OSError as error:
        raise _cannot_write(run, error) from error
    outcome = _watched(request, run, reporter, began)
    reporter.close()
    return outcome.exit_code


def _cannot_write(run: RunDir, error: OSError) -> RunDirError:
    return RunDirError(f"cannot write the run directory {run.path}: {error.strerror}")


def _sinks(request: RunRequest, run: RunDir) -> list[Sink]:
    # Behind a queue: a terminal that nobody reads any more (a laptop closed, Ctrl+S) blocks whoever writes to it.
    console = QueuedSink(ConsoleSink())
    if request.dry_run:
        return [console]
    config = request.loaded.config
    return [RowFiles(run), console, *build_trackers(config, run, config.model_dump())]


def _watched(request: RunRequest, run: RunDir, reporter: Reporter, began: float) -> Outcome:
    """Build and train with signals served in every phase."""
    switch = StopSwitch()
    budget = TimeBudget()
    where = _Whereabouts(reporter, budget)
    reporter.add(where)

    def on_first(name: str) -> None:
        _tell(f"{name}: saving what is not saved yet, then leaving; once more to leave at once without saving")

    def on_second(exit_code: int) -> None:
        _tell("left at once; nothing more was saved")
        where.ended(Outcome("stopped", "a second signal: left at once without saving", exit_code, where.step))

    def on_hangup() -> None:
        reporter.publish(
            Warned(
                topic="terminal",
                message=f"the terminal was closed; the run goes on, `chomp ctl {run.path} stop` ends it",
            )
        )

    session: Session | None = None
    queue = CommandQueue(CommandReader(run.commands, since=began), reporter, switch)
    with SignalWatcher(switch, on_first=on_first, on_second=on_second, on_hangup=on_hangup):
        try:
            session = build_session(request, run, reporter, budget, queue)
            outcome = train(session)
        except StopRequestedError:
            asked = switch.request
            assert asked is not None
            outcome = Outcome("stopped", asked.reason + NOTHING_NEW, asked.exit_code, where.step)
        except AbortRequestedError:
            outcome = aborted(where.step)
        except ChompError as error:
            outcome = Outcome("crashed", str(error), error.exit_code, where.step, error)
        except Exception as error:
            log.exception("the engine failed")
            outcome = Outcome("crashed", f"{type(error).__name__}: {error}", 1, where.step, error)
        finally:
            if session is not None:
                session.data.close()
                session.compile_watch.close()
        where.ended(outcome)
    if outcome.error is not None and not isinstance(outcome.error, ChompError):
        _tell(f"the traceback is in {run.log}")
    return outcome


class _Whereabouts(Sink):
    """Knows the step that the attempt has told of, and writes its last event, once."""

    name = "whereabouts"

    def __init__(self, reporter: Reporter, budget: TimeBudget):
        self._reporter = reporter
        self._budget = budget
        self._done = False
        self.step = 0

    def handle(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.step = event.resumed_from or 0
            case Phase():
                self.step = max(self.step, event.step)
            case RolledBack():
                self.step = event.step
            case Step():
                self.step = max(self.step, event.row["step"])

    def ended(self, outcome: Outcome) -> None:
        if not self._done:
            self._done = True
            self._reporter.publish(
                RunEnded(
                    status=outcome.status,
                    reason=outcome.reason,
                    step=outcome.step,
                    exit_code=outcome.exit_code,
                    time_budget_seconds=self._budget.totals(),
                )
            )


def _tell(sentence: str) -> None:
    try:
        print(f"chomp: {sanitize(sentence)}", file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; the event log says the same.
        log.info("%s", sentence)


def _remove_traces(run: RunDir, ours: list[Path], made: bool) -> None:
    """A typo in the configuration must not leave a run behind that the corrected command then trips over.

    Only files that this attempt made (`ours`) are removed, and the folder only if it was `made` for the run.
    """
    # What cannot be removed, on a disk that is read-only say, was not the mistake that is being reported.
    with contextlib.suppress(OSError):
        for path in ours:
            path.unlink(missing_ok=True)
        if made and not any(run.path.iterdir()):
            run.path.rmdir()
