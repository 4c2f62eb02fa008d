"""What the engine of a run cannot tell itself: that it was killed, or that its process does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from chomp.notify.notice import Notice
from chomp.notify.once import fact_id
from chomp.record.codec import decode
from chomp.record.events import Warned
from chomp.record.line_files import LineReader
from chomp.record.rundir import RunDir
from chomp.record.status import GONE, Status
from chomp.record.summary import RunSummary, SummaryReader


class RunWatch:
    """Looks at a run directory again and again, and makes a notice of each change for the worse.

    What was so at the first look is no change. The directory need not exist yet.

    Attributes:
        summary: the run at the newest look; None before it exists.
    """

    def __init__(self, path: Path):
        self.path = path
        self.summary: RunSummary | None = None
        self._reader = SummaryReader(path)
        self._warnings = LineReader(RunDir(path).events)
        self._engine_told_t = 0.0

    def look(self) -> Notice | None:
        """The notice that is due now, if any.

        Raises:
            OSError: the run's files cannot be read.
        """
        before = self.summary
        try:
            self.summary = self._reader.read()
        except FileNotFoundError:
            return None
        self._read_warnings()
        was, now = before.status if before is not None else None, self.summary.status
        if was is None or (was.word, was.reason) == (now.word, now.reason):
            return None
        if _is_killed(now):
            return self._notice("killed", now)
        if now.word == "silent" and was.word != "silent" and self.summary.last_t > self._engine_told_t + 0.001:
            return self._notice("stalled", now)
        return None

    def _read_warnings(self) -> None:
        for line in self._warnings.read():
            if b'"stalled"' in line:
                event = decode(line)
                if isinstance(event, Warned) and event.topic == "stalled":
                    self._engine_told_t = event.t

    def _notice(self, kind: Literal["killed", "stalled"], status: Status) -> Notice:
        assert self.summary is not None
        found = self.summary
        fact = end_of_attempt(RunDir(self.path)) if kind == "killed" else f"silent {found.last_t:.3f}"
        return Notice(
            kind,
            found.name,
            status.reason,
            str(found.path.absolute()),
            found.step,
            found.total_steps,
            found.loss,
            id=fact_id(self.path, fact),
        )


def end_of_attempt(run: RunDir) -> str:
    """The end of the newest attempt as a fact: until the next attempt writes, the event log keeps its size.

    Raises:
        OSError: there is no event log.
    """
    return f"end {run.events.stat().st_size}"


def _is_killed(status: Status) -> bool:
    return status.state == "crashed" and status.reason == GONE
