"""The run directory's flat files: `metrics.jsonl` and `samples.jsonl`."""

from __future__ import annotations

from pathlib import Path

from chomp.events import Event, Sampled, Step
from chomp.events.codec import json_line
from chomp.events.files import LineAppender
from chomp.rundir import RunDir
from chomp.sinks.base import Sink


class RowFiles(Sink):
    """Appends metrics rows and samples, whole lines, as they come.

    A file is opened at its first row: a resume rewrites the files before that, and an
    older descriptor would go on writing to what was replaced.
    """

    name = "metrics file"

    def __init__(self, run: RunDir):
        self._run = run
        self._open: dict[Path, LineAppender] = {}

    def handle(self, event: Event) -> None:
        if isinstance(event, Step):
            self._append(self._run.metrics, event.row)
        elif isinstance(event, Sampled):
            self._append(
                self._run.samples,
                {"step": event.step, "prompt": event.prompt, "text": event.text, "tokens": event.tokens},
            )

    def _append(self, path: Path, row: dict[str, object]) -> None:
        if path not in self._open:
            self._open[path] = LineAppender(path)
        self._open[path].append(json_line(row))

    def close(self) -> None:
        for file in self._open.values():
            file.close()
