"""The run directory's flat files: `metrics.jsonl` and `samples.jsonl`."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from chomp.record.codec import json_line
from chomp.record.events import Event, RolledBack, Sampled, Step
from chomp.record.line_files import LineAppender, parse_line
from chomp.record.rundir import RunDir, write_whole
from chomp.sinks.base import Sink

log = logging.getLogger("chomp.events")


class RowFiles(Sink):
    """Appends metrics rows, with their time, and samples: whole lines, at once.

    A file is opened at its first row: a resume cuts the files before that. A rollback cuts them, too.
    """

    name = "metrics file"

    def __init__(self, run: RunDir):
        self._run = run
        self._open: dict[Path, LineAppender] = {}

    def handle(self, event: Event) -> None:
        if isinstance(event, Step):
            self._append(self._run.metrics, {**event.row, "t": round(time.time(), 3)})
        elif isinstance(event, Sampled):
            self._append(
                self._run.samples,
                {"step": event.step, "prompt": event.prompt, "text": event.text, "tokens": event.tokens},
            )
        elif isinstance(event, RolledBack):
            self._go_back_to(event.step)

    def _go_back_to(self, step: int) -> None:
        self.close()
        for path in (self._run.metrics, self._run.samples):
            try:
                keep_rows_up_to(path, step)
            except OSError as error:
                # Readers ignore these rows: they are older than the rollback and beyond its step.
                log.error("rows beyond step %d stay in %s: %s", step, path.name, error.strerror)

    def _append(self, path: Path, row: dict[str, object]) -> None:
        if path not in self._open:
            self._open[path] = LineAppender(path, lazy=True)
        self._open[path].append(json_line(row))

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def keep_rows_up_to(path: Path, step: int) -> int:
    """Remove the rows after `step` and torn lines; returns how many went.

    Where they are the end of the file, it is cut in place, which needs no room on the disk.
    """
    if not path.exists():
        return 0
    kept: list[bytes] = []
    gone = 0
    data = path.read_bytes()
    for line in data.splitlines(keepends=True):
        reached = (parse_line(line) or {}).get("step")
        if isinstance(reached, int) and reached <= step and line.endswith(b"\n"):
            kept.append(line)
        else:
            gone += 1
    stays = b"".join(kept)
    if gone and data.startswith(stays):
        os.truncate(path, len(stays))
    elif gone:
        write_whole(path, stays)
    return gone
