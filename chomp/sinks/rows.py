"""The run directory's flat files: `metrics.jsonl` and `samples.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chomp.record.codec import json_line
from chomp.record.events import Event, RolledBack, Sampled, Step
from chomp.record.line_files import LineAppender
from chomp.record.rundir import RunDir, write_whole
from chomp.sinks.base import Sink


class RowFiles(Sink):
    """Appends metrics rows and samples, whole lines, as they come.

    A file is opened at its first row: a resume rewrites the files before that, and an
    older descriptor would go on writing to what was replaced. A rollback rewrites them, too.
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
        elif isinstance(event, RolledBack):
            self._go_back_to(event.step)

    def _go_back_to(self, step: int) -> None:
        self.close()
        for path in (self._run.metrics, self._run.samples):
            keep_rows_up_to(path, step)

    def _append(self, path: Path, row: dict[str, object]) -> None:
        if path not in self._open:
            self._open[path] = LineAppender(path)
        self._open[path].append(json_line(row))

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def keep_rows_up_to(path: Path, step: int) -> int:
    """Rewrite a row file without the rows after `step` and without torn lines; returns how many went."""
    if not path.exists():
        return 0
    kept: list[bytes] = []
    gone = 0
    for line in path.read_bytes().splitlines(keepends=True):
        row = _parse(line)
        if row is not None and line.endswith(b"\n") and row["step"] <= step:
            kept.append(line)
        else:
            gone += 1
    if gone:
        write_whole(path, b"".join(kept))
    return gone


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
