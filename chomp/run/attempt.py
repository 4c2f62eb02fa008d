"""One engine process from the command line to its exit code."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from chomp.errors import ChompError, RunDirError
from chomp.events import CommandReader, EventWriter, RunEnded
from chomp.run.clock import TimeBudget
from chomp.run.compilation import use_compilation_cache
from chomp.run.control import SignalWatcher, StopRequestedError, StopSwitch
from chomp.run.logs import log_to_file
from chomp.run.loop import Outcome, train
from chomp.run.request import RunRequest, choose_run_dir
from chomp.run.session import Session, build_session
from chomp.rundir import RunDir, RunLock
from chomp.sinks import ConsoleSink, Reporter, RowFiles, Sink, build_trackers

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
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(run.lock)
        lock.acquire()
    except OSError as error:
        raise RunDirError(f"cannot write the run directory {run.path}: {error.strerror}") from error
    began = time.time()
    fresh = not run.holds_run()
    try:
        log_to_file(run.log, request.loaded.config.logging.level)
        reporter = Reporter(EventWriter(run.events), _sinks(request, run))
        outcome = _watched(request, run, reporter, began)
        reporter.close()
    finally:
        lock.release()
    if fresh and outcome.exit_code == 2 and not request.dry_run:
        _remove_if_unused(run)
    return outcome.exit_code


def _sinks(request: RunRequest, run: RunDir) -> list[Sink]:
    if request.dry_run:
        return [ConsoleSink()]
    config = request.loaded.config
    return [RowFiles(run), ConsoleSink(), *build_trackers(config, run, config.model_dump())]


def _watched(request: RunRequest, run: RunDir, reporter: Reporter, began: float) -> Outcome:
    """Build and train with signals served in every phase."""
    switch = StopSwitch()
    budget = TimeBudget()
    where = _Whereabouts(reporter, budget)

    def on_first(name: str) -> None:
        _tell(f"{name}: finishing the step, saving, then leaving; once more to leave at once without saving")

    def on_second(exit_code: int) -> None:
        where.ended(Outcome("stopped", "a second signal: left at once without saving", exit_code, 0))
        _tell("left at once; nothing more was saved")
        os._exit(exit_code)

    session: Session | None = None
    with SignalWatcher(switch, on_first=on_first, on_second=on_second):
        try:
            session = build_session(request, run, reporter, budget, switch)
            outcome = train(session, CommandReader(run.commands, since=began))
        except StopRequestedError:
            request_ = switch.request
            assert request_ is not None
            outcome = Outcome("stopped", f"{request_.reason} before the first step: there was nothing new to save", request_.exit_code, 0)
        except ChompError as error:
            outcome = Outcome("crashed", str(error), error.exit_code, 0, error)
        except Exception as error:  # noqa: BLE001 - the event log must say how every attempt ended
            log.exception("the engine failed")
            outcome = Outcome("crashed", f"{type(error).__name__}: {error}", 1, 0, error)
        finally:
            if session is not None:
                session.data.close()
                session.compile_watch.close()
        where.ended(outcome)
    if outcome.error is not None and not isinstance(outcome.error, ChompError):
        _tell(f"the traceback is in {run.log}")
    return outcome


class _Whereabouts:
    """Writes the last event of an attempt, once."""

    def __init__(self, reporter: Reporter, budget: TimeBudget):
        self._reporter = reporter
        self._budget = budget
        self._done = False

    def ended(self, outcome: Outcome) -> None:
        if not self._done:
            self._done = True
            self._reporter.publish(RunEnded(status=outcome.status, reason=outcome.reason, step=outcome.step, exit_code=outcome.exit_code,
                                            time_budget_seconds=self._budget.totals()))


def _tell(sentence: str) -> None:
    print(f"chomp: {sentence}", file=sys.stderr, flush=True)


def _remove_if_unused(run: RunDir) -> None:
    """A typo in the configuration must not leave an empty run behind that the corrected command then trips over."""
    if not run.config_resolved.exists() and not run.checkpoints.exists():
        import shutil

        shutil.rmtree(run.path, ignore_errors=True)


