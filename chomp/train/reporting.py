"""What an attempt reports: its log file, its event log and sinks, and its last event."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from chomp.errors import command_name
from chomp.record.event_log import EventWriter
from chomp.record.events import Event, Phase, RolledBack, RunEnded, RunStarted, Step, Warned
from chomp.record.formatting import sanitize
from chomp.record.rundir import RunDir
from chomp.sinks import QueuedSink, Reporter, RowFiles, Sink, TerminalSink, build_trackers, require_trackers
from chomp.train.clock import TimeBudget
from chomp.train.control import SignalWatcher, StopSwitch
from chomp.train.outcome import Outcome
from chomp.train.request import RunRequest, cannot_write

log = logging.getLogger("chomp.attempt")

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Libraries whose progress at INFO would bury everything else.
QUIET = (
    "absl",
    "huggingface_hub",
    "orbax",
    "jax",
    "jax._src",
    "fsspec",
    "urllib3",
    "httpx",
    "filelock",
    "datasets",
    "transformers",
    "asyncio",
    "grain",
)


class _PatientFileHandler(logging.FileHandler):
    """A log file on a disk that may fill up: a record that cannot be written is dropped.

    Python would print a traceback for each; the event log and the console report the full disk.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing."""


@contextlib.contextmanager
def open_reporter(request: RunRequest, run: RunDir) -> Iterator[Reporter]:
    """The reporter of a claimed run directory, with its sinks; Python's log records go to the run's log file.

    Raises:
        RunDirError: the directory cannot be written.
        ConfigError: a tracker cannot be used.
    """
    sinks = _sinks(request, run)
    try:
        _log_to_file(run.log, request.loaded.config.logging.level)
        reporter = Reporter(EventWriter(run.events), sinks)
    except OSError as error:
        raise cannot_write(run, error) from error
    try:
        yield reporter
    finally:
        reporter.close()


def _sinks(request: RunRequest, run: RunDir) -> list[Sink]:
    # Behind a queue: a terminal that no longer takes output (a laptop closed, Ctrl+S) blocks its writer.
    console = QueuedSink(TerminalSink())
    config = request.loaded.config
    if request.dry_run:
        require_trackers(config)
        return [console]
    return [RowFiles(run), console, *build_trackers(config, run, config.model_dump())]


class LastStep(Sink):
    """Knows the step of the newest event, and publishes the attempt's last event, once."""

    name = "last step"

    def __init__(self, reporter: Reporter, budget: TimeBudget):
        self._reporter = reporter
        self._budget = budget
        self._has_ended = False
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

    def publish_end(self, outcome: Outcome) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._reporter.publish(
                RunEnded(
                    status=outcome.status,
                    reason=outcome.reason,
                    step=outcome.step,
                    exit_code=outcome.exit_code,
                    time_budget_seconds=self._budget.totals(),
                )
            )


def watch_signals(switch: StopSwitch, run: RunDir, reporter: Reporter, last: LastStep) -> SignalWatcher:
    """A watcher that tells the user what each signal does."""

    def on_first(name: str) -> None:
        tell(f"{name}: saving, then exiting; a second signal exits at once without saving")

    def on_second(exit_code: int) -> None:
        tell("exited at once; nothing more was saved")
        last.publish_end(Outcome("stopped", "a second signal: exited at once without saving", exit_code, last.step))

    def on_hangup() -> None:
        reporter.publish(
            Warned(
                topic="terminal",
                message=f"the terminal was closed; the run continues; `{command_name()} ctl {run.path} stop` stops it",
            )
        )

    return SignalWatcher(switch, on_first=on_first, on_second=on_second, on_hangup=on_hangup)


def tell(sentence: str) -> None:
    """Print a sentence on standard error."""
    try:
        print(f"chomp: {sanitize(sentence)}", file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; the event log has the same.
        log.info("%s", sentence)


def _log_to_file(path: Path, level: str) -> None:
    """Send all log records of at least `level` to `path`, appended; other handlers are taken away."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = _PatientFileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(FORMAT))
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
