"""The run directory's flat files: `metrics.jsonl` and `samples.jsonl`."""

from __future__ import annotations

from chomp.events import Event, Sampled, Step
from chomp.events.codec import json_line
from chomp.events.files import LineAppender
from chomp.rundir import RunDir
from chomp.sinks.base import Sink


class RowFiles(Sink):
    """Appends metrics rows and samples, whole lines, as they come."""

    name = "metrics file"

    def __init__(self, run: RunDir):
        self._metrics = LineAppender(run.metrics)
        self._samples = LineAppender(run.samples)

    def handle(self, event: Event) -> None:
        if isinstance(event, Step):
            self._metrics.append(json_line(event.row))
        elif isinstance(event, Sampled):
            self._samples.append(json_line({"step": event.step, "prompt": event.prompt, "text": event.text, "tokens": event.tokens}))

    def close(self) -> None:
        self._metrics.close()
        self._samples.close()
