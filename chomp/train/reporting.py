"""What an attempt reports: its log file, its event log and sinks, and its last event."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from chomp.config import Config
from chomp.errors import command_name
from chomp.notify.notifier import open_notifier
from chomp.record.commands import Command
from chomp.record.event_log import EventWriter, NoEvents
from chomp.record.events import Event, Phase, RolledBack, RunEnded, RunStarted, Step, Warned
from chomp.record.formatting import sanitize
from chomp.record.held_folder import by_name
from chomp.sinks import (
    LastWords,
    NoticeSink,
    QueuedSink,
    Reporter,
    RowFiles,
    Sink,
    TerminalSink,
    build_trackers,
    require_trackers,
)
from chomp.train.clock import TimeBudget
from chomp.train.control import CommandQueue, StopRequest
from chomp.train.outcome import Outcome
from chomp.train.processes import RunProcesses
from chomp.train.request import Claim, RunRequest, cannot_write
from chomp.train.signals import SignalActions, SignalWatcher
from chomp.train.uncaught import uncaught_to_log

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


class _NamingFormatter(logging.Formatter):
    """Records and tracebacks, with the path that users know where a file was opened by another."""

    def __init__(self, named: Callable[[str], str]) -> None:
        super().__init__(FORMAT)
        self._named = named

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return self._named(super().format(record))


@contextlib.contextmanager
def open_reporter(request: RunRequest, claim: Claim) -> Iterator[Reporter]:
    """The reporter of a claimed run directory, with its sinks; Python's log records go to the run's log file.

    Raises:
        RunDirError: the directory cannot be written.
        ConfigError: a tracker, or a receiver of notices, cannot be used.
    """
    world = request.world
    log_file = claim.run.log_of(world.index)
    try:
        if not world.is_alone:
            send_libraries_to(log_file, errors=not world.is_leader)
        sinks = _sinks(request, claim)
        notifier = open_notifier(request.loaded.config.notify)
        named = lambda text: by_name(text, claim.run.path)  # noqa: E731
        _log_to_file(log_file, request.loaded.config.logging.level, named)
        writer = EventWriter(claim.files.events, reserves=True) if world.is_leader else NoEvents()
        is_over = (lambda: claim.ended_by is not None) if world.is_leader and not world.is_alone else (lambda: False)
        reporter = Reporter(writer, sinks, is_over, named)
    except OSError as error:
        raise cannot_write(claim.run, error) from error
    if world.is_leader and not request.dry_run:
        reporter.add(NoticeSink(notifier, lambda: claim.run, reporter.publish))
    try:
        with uncaught_to_log(reporter):
            yield reporter
    finally:
        reporter.close()


class EndOnStandardError(Sink):
    """All that a process which is not the leader shows: what ended it."""

    name = "end"

    def handle(self, event: Event) -> None:
        if isinstance(event, RunEnded) and event.status == "crashed":
            log.error("%s", event.reason)
            print(f"error: {sanitize(event.reason)}", file=sys.stderr, flush=True)


def send_libraries_to(path: Path, *, errors: bool) -> None:
    """Let native libraries that print (Gloo, NCCL) print to a log file; Python's own streams stay where they are.

    Args:
        errors: also what they print on standard error.
    """
    with path.open("ab") as file:
        for number, name in ((1, "stdout"), (2, "stderr"))[: 1 + errors]:
            stream = getattr(sys, name)
            stream.flush()
            kept = os.fdopen(os.dup(number), "w", buffering=1, encoding=stream.encoding, errors=stream.errors)
            os.dup2(file.fileno(), number)
            setattr(sys, name, kept)


def _sinks(request: RunRequest, claim: Claim) -> list[Sink]:
    if not request.world.is_leader:
        return [EndOnStandardError()]
    # Behind a queue: a terminal that no longer takes output (a laptop closed, Ctrl+S) blocks its writer.
    terminal = TerminalSink()
    shown: list[Sink] = [QueuedSink(terminal), LastWords(terminal)]
    config = request.loaded.config
    if request.dry_run:
        require_trackers(config)
        return shown
    return [RowFiles(claim.files), *shown, *build_trackers(config, claim.run, config.model_dump(), claim.files)]


class LastStep(Sink):
    """Knows the step of the newest event, and publishes the attempt's last event, once.

    Args:
        turn: of the leader of several processes, whether it may publish the end; see `leader_ends`.
    """

    name = "last step"

    def __init__(
        self, reporter: Reporter, budget: TimeBudget, turn: Callable[[], AbstractContextManager[bool]] | None = None
    ):
        self._reporter = reporter
        self._budget = budget
        self._turn = turn
        self._has_ended = False
        self._ending = threading.Lock()
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
        with self._ending:
            is_first, self._has_ended = not self._has_ended, True
        if not is_first:
            return
        if self._turn is None:
            self._reporter.publish(self.end(outcome))
            return
        with self._turn() as is_free:
            if is_free:
                self._reporter.publish(self.end(outcome))
            # What the disk did not take, another process writes.
            self._reporter.writer.give_up()

    def end(self, outcome: Outcome) -> RunEnded:
        """The attempt's last event."""
        ended = RunEnded(
            status=outcome.status,
            reason=outcome.reason,
            step=outcome.step,
            exit_code=outcome.exit_code,
            time_budget_seconds=self._budget.totals(),
        )
        return self._reporter.named(ended)


def follow_run_dir(claim: Claim, reporter: Reporter) -> None:
    """Find the run directory where it is now, and tell the user if it was renamed.

    Raises:
        RunDirError: it is gone.
    """
    before = claim.run.path
    if claim.held.follow():
        reporter.publish(
            Warned(topic="run_dir", message=f"{before} was renamed; the run continues in {claim.run.path}")
        )


def watch_signals(
    config: Config,
    queue: CommandQueue,
    claim: Claim,
    reporter: Reporter,
    last: LastStep,
    budget: TimeBudget,
    processes: RunProcesses,
) -> SignalWatcher:
    """A watcher that obeys signals and tells the user what each does."""

    def on_first(name: str) -> None:
        tell(f"{name}: saving, then exiting; a second signal exits at once without saving")

    def on_second(exit_code: int) -> None:
        tell("exited at once; nothing more was saved")
        reason = "a second signal: exited at once without saving"
        last.publish_end(Outcome("stopped", reason, exit_code, last.step))
        processes.say_failed(reason, exit_code)

    def on_notice(number: int) -> None:
        name = signal.Signals(number).name
        if config.checkpoint.on_signal == "stop":
            queue.switch.set(StopRequest(f"{name} received", 128 + number))
            tell(f"{name}: saving, then exiting (checkpoint.on_signal: stop)")
        else:
            queue.give(Command("save", id=name))
            saves = "saving" if config.checkpoint.enabled else "checkpoint.enabled is false, nothing is saved"
            tell(f"{name}: {saves}; the run continues")

    def on_hangup() -> None:
        path = claim.run.path
        reporter.publish(
            Warned(
                topic="terminal",
                message=f"the terminal was closed; the run continues; `{command_name()} ctl {path} stop` stops it",
            )
        )

    def on_suspend() -> None:
        tell("suspended; SIGCONT (fg) continues")
        if sys.stdout.isatty():
            # The progress bar has hidden the cursor of the shell.
            print("\x1b[?25h", end="", flush=True)

    return SignalWatcher(
        queue.switch, SignalActions(on_first, on_second, on_notice, on_hangup, on_suspend, budget.suspended)
    )


def tell(sentence: str) -> None:
    """Print a sentence on standard error."""
    try:
        print(f"chomp: {sanitize(sentence)}", file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; the event log has the same.
        log.info("%s", sentence)


def _log_to_file(path: Path, level: str, named: Callable[[str], str]) -> None:
    """Send all log records of at least `level` to `path`, appended; other handlers are taken away."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = _PatientFileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_NamingFormatter(named))
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
