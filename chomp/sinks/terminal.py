"""A run on a plain terminal or in a pipe."""

from __future__ import annotations

import statistics
import sys
from collections import deque
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.status import Status
from rich.text import Text

from chomp.errors import command_name
from chomp.record import events as ev
from chomp.record import formatting as fmt
from chomp.record.operations import profile_lines
from chomp.record.overhead import overhead_seconds_per_step
from chomp.sinks.base import Sink

SAMPLE_LINES = 12
SHOWN_ENVIRONMENT = ("XLA_", "JAX_", "CUDA_VISIBLE")
# Numbers of newest rows and jobs from which the usual durations are computed.
RECENT_ROWS = 32
RECENT_JOBS = 64


class EtaMeter:
    """Estimates the remaining seconds from the usual step time and the usual evaluations, samples and saves.

    Compilation and user commands are not included.
    """

    def __init__(self) -> None:
        self._step_times: deque[float] = deque(maxlen=RECENT_ROWS)
        self._evaluated: dict[int, float] = {}
        self._scored: dict[str, dict[int, float]] = {}
        self._sampled: dict[int, float] = {}
        self._saved: dict[int, float] = {}
        self._answers: deque[ev.Acknowledged] = deque(maxlen=RECENT_JOBS)
        self.total_steps = 0

    def see(self, event: ev.Event) -> None:
        """Record an event of a job between steps."""
        match event:
            case ev.Evaluated():
                _keep(self._evaluated, event.step, event.seconds)
            case ev.SetEvaluated() | ev.TaskEvaluated(part_of=None):
                _keep(self._scored.setdefault(event.name, {}), event.step, event.seconds)
            case ev.Sampled():
                _keep(self._sampled, event.step, self._sampled.get(event.step, 0.0) + event.seconds)
            case ev.Checkpoint(state="committed"):
                _keep(self._saved, event.step, event.blocked_seconds or 0.0)
            case ev.Acknowledged():
                self._answers.append(event)

    def update(self, row: dict[str, Any]) -> float:
        """Record a row and return the seconds until the last step.

        Uses the lower median: the first step is slow and would distort a mean for long.
        """
        self._step_times.append(float(row["step_time_s"]))
        overhead = overhead_seconds_per_step(self._evaluated, self._sampled, self._saved, self._answers, self._scored)
        return (self.total_steps - row["step"]) * (statistics.median_low(self._step_times) + overhead)


def _keep(spent: dict[int, float], step: int, seconds: float) -> None:
    """Record the seconds of a step; only the newest steps are kept."""
    spent[step] = seconds
    if len(spent) > RECENT_JOBS:
        del spent[min(spent)]


class PatientConsole(Console):
    """A console whose output may be closed: rich would end the process, and the run with it."""

    def on_broken_pipe(self) -> None:
        """Let the sink fail: the reporter drops it and the run continues."""
        raise BrokenPipeError("the output was closed")


class TerminalSink(Sink):
    """Prints one line per metrics row, and samples, saves and warnings.

    On a terminal a progress bar shows the remaining time.
    """

    name = "console"

    def __init__(self, stream: IO[str] | None = None):
        self._console = PatientConsole(
            file=stream or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._eta = EtaMeter()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._work: Status | None = None
        # Whether the error that ended the run is printed.
        self.has_told = False
        # Print a pause once, although the engine re-enters it after each command.
        self._is_paused = False

    def handle(self, event: ev.Event) -> None:
        self._eta.see(event)
        if not isinstance(event, ev.Progress):
            self._end_work()
        match event:
            case ev.RunStarted():
                self._started(event)
            case ev.Progress():
                self._show_work(fmt.progress_line(event))
            case ev.Phase(name="data"):
                self._say("opening the data …", style="dim")
            case ev.Phase(name="compile"):
                self._say("compiling the training step …", style="dim")
            case ev.Compiled():
                self._say(_compiled(event), style="dim")
                self._show_bar()
            case ev.Phase(name="paused"):
                if not self._is_paused:
                    self._say(f"paused; `{command_name()} ctl RUN resume` continues", style="yellow")
                self._is_paused = True
            case ev.Phase(name="train"):
                self._is_paused = False
            case ev.Step():
                self._row(event.row)
            case ev.Evaluated():
                self._say(fmt.evaluated_line(event), style="dim")
            case ev.SetEvaluated():
                self._say(fmt.set_line(event), style="dim")
            case ev.TaskEvaluated(part_of=None):
                self._say(fmt.task_line(event), style="dim")
            case ev.Sampled():
                self._sample(event)
            case ev.Checkpoint():
                self._checkpoint(event)
            case ev.Warned():
                self._say(f"warning: {event.message}", style="yellow")
            case ev.Spike():
                self._say(f"loss spike: {event.message}", style="yellow" if event.action == "warn" else "bold red")
            case ev.NonFinite():
                self._say(
                    f"step {event.step}: loss {fmt.loss(event.loss)}, gradient norm {fmt.loss(event.grad_norm)}; "
                    f"the update was not applied ({event.action})",
                    style="bold red",
                )
            case ev.RolledBack():
                self._say(event.message, style="bold red")
            case ev.Profiled():
                for line in profile_lines(event):
                    self._say(line, style="dim")
            case ev.RunEnded():
                self._ended(event)

    def _started(self, event: ev.RunStarted) -> None:
        self._eta.total_steps = event.total_steps
        resumed = "" if event.resumed_from is None else f", resumed from step {event.resumed_from}"
        device = fmt.device_words(event.device)
        self._say(
            f"{fmt.count(event.parameters)} parameters on {device}, "
            f"{event.tokens_per_step:,} tokens per step, {event.total_steps:,} steps{resumed}"
        )
        if event.weights:
            self._say(f"weights: {event.weights}")
        if event.data:
            self._say(f"data: {event.data}")
        for line in event.optimizer.splitlines():
            self._say(f"  {line}", style="dim")
        for name, value in event.environment.items():
            if name.startswith(SHOWN_ENVIRONMENT):
                self._say(f"env {name}={value}", style="dim")

    def _show_bar(self) -> None:
        if not self._console.is_terminal or self._progress is not None:
            return
        self._progress = Progress(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("train", total=self._eta.total_steps, note="")
        self._progress.start()

    def _show_work(self, text: str) -> None:
        """On a terminal one line that changes, elsewhere a line each time."""
        if not self._console.is_terminal:
            self._say(text, style="dim")
        elif self._work is None:
            self._work = self._console.status(Text(text, style="dim"))
            self._work.start()
        else:
            self._work.update(Text(text, style="dim"))

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.stop()
            self._work = None

    def _row(self, row: dict[str, Any]) -> None:
        eta = self._eta.update(row)
        # The bar shows the remaining time; without it the line fits eighty columns.
        self._say(fmt.row_line(row, self._eta.total_steps, eta if self._progress is None else None))
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                completed=row["step"],
                note=f"{fmt.loss(row.get('loss'))} · {row['tokens_per_sec']:,.0f} tok/s · {fmt.duration(eta)} left",
            )

    def _sample(self, event: ev.Sampled) -> None:
        self._say(f"── sample at step {event.step} ──", style="cyan")
        prompt, written = fmt.sanitize(event.prompt), fmt.sanitize(event.text)
        lines = Text(prompt, style="dim") + Text(written)
        for line in lines.split("\n", allow_blank=True)[:SAMPLE_LINES]:
            self._console.print(Text("  │ ", style="cyan") + line)

    def _checkpoint(self, event: ev.Checkpoint) -> None:
        if event.state == "committed":
            self._say(
                f"saved step {event.step} ({fmt.size(event.bytes or 0)}, {fmt.elapsed(event.seconds or 0)}, "
                f"training waited {fmt.elapsed(event.blocked_seconds or 0)})",
                style="dim",
            )
        elif event.state in ("failed", "refused"):
            what = "saving" if event.state == "failed" else "checkpoint of"
            self._say(
                f"{what} step {event.step} {'failed' if event.state == 'failed' else 'refused'}: {event.reason or ''}",
                style="bold red",
            )

    def _ended(self, event: ev.RunEnded) -> None:
        self._hide_bar()
        if event.status == "crashed":
            _print_error(event)
            self.has_told = True
        else:
            self._say(f"{event.status.replace('_', ' ')} at step {event.step}: {event.reason}", style="green")
        spent = "  ".join(
            f"{name.replace('_', ' ')} {fmt.duration(s)}" for name, s in event.time_budget_seconds.items() if s >= 1
        )
        if spent:
            self._say(f"time: {spent}", style="dim")

    def _hide_bar(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(Text(fmt.sanitize(line), style=style))

    def close(self) -> None:
        self._end_work()
        self._hide_bar()


class LastWords(Sink):
    """Prints the error that ended the run if the terminal's sink did not, as with a full disk behind standard output.

    Closed after that sink.
    """

    name = "last words"

    def __init__(self, terminal: TerminalSink) -> None:
        self._terminal = terminal
        self._ended: ev.RunEnded | None = None

    def handle(self, event: ev.Event) -> None:
        if isinstance(event, ev.RunEnded) and event.status == "crashed":
            self._ended = event

    def close(self) -> None:
        if self._ended is not None and not self._terminal.has_told:
            _print_error(self._ended)


def _print_error(event: ev.RunEnded) -> None:
    where = f"at step {event.step}: " if event.step else ""
    print(f"error: {where}{fmt.sanitize(event.reason)}", file=sys.stderr, flush=True)


def _compiled(event: ev.Compiled) -> str:
    if event.in_run == "loaded":
        return f"loaded the run's compiled step in {fmt.elapsed(event.seconds)}"
    if event.cache_hit:
        return f"compiled from the cache in {fmt.elapsed(event.seconds)}"
    if event.in_run == "kept":
        then = "a resume loads it from the run directory"
    else:
        then = "the next start loads it from the cache" if event.cache else "not cached: the compilation cache is off"
    return f"compiled in {fmt.elapsed(event.seconds)} ({then})"
