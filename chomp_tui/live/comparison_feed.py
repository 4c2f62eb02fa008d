"""Reads the runs of a comparison in a thread, and again while they train; never touches a widget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chomp.errors import ChompError
from chomp.record.rundir import RunDir
from chomp.record.summary import Stamp, stamp
from chomp_tui.platform.poller import Poller

if TYPE_CHECKING:
    from chomp.record.comparison import Comparison
    from chomp.record.run_record import RunRecord

INTERVAL_SECONDS = 3.0
# Reading may take at most this share of the time.
MOST_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison, or in one sentence why there is none.

    Attributes:
        left_out: a sentence for each run that cannot be read.
    """

    comparison: Comparison | None = None
    problem: str | None = None
    left_out: tuple[str, ...] = ()


class ComparisonFeed(Poller[Compared]):
    """Compares runs, and compares them again when one of them has changed.

    Args:
        paths: the runs, the baseline first; a single one is a fork, and its parent comes first.
        deliver: called in the thread.
    """

    def __init__(self, paths: Sequence[Path], deliver: Callable[[Compared], None]) -> None:
        super().__init__(deliver, interval_seconds=INTERVAL_SECONDS, name="comparison")
        self._paths = list(paths)
        self._records: dict[Path, RunRecord] = {}
        self._stamps: dict[Path, tuple[Stamp, ...]] = {}
        self._left_out: dict[Path, str] = {}
        self._problem = ""

    def look(self) -> Iterator[Compared]:
        began = time.monotonic()
        try:
            if self._read():
                self._problem = ""
                yield self._compared()
        except (ChompError, OSError) as error:
            said = str(error)
            if said != self._problem:
                self._problem = said
                yield Compared(problem=said)
        self.pace(max(INTERVAL_SECONDS, (time.monotonic() - began) / MOST_SHARE))

    def _read(self) -> bool:
        """Read the runs that have changed; returns whether any has, or which ones can be read."""
        from chomp.record.comparison import left_out as said
        from chomp.record.run_record import load_record
        from chomp.record.same_batches import origin_of

        if len(self._paths) == 1:
            origin = origin_of(RunDir(self._paths[0]))
            if origin is None:
                raise ChompError(
                    f"{self._paths[0].name} is no fork of a run that is there; mark two runs or more with Space on Home"
                )
            self._paths.insert(0, origin)
        changed, left_out = False, {}
        for path in self._paths:
            run = RunDir(path)
            now = tuple(map(stamp, (run.events, run.metrics, run.config_resolved, run.notes, run.lock)))
            if path in self._records and self._stamps.get(path) == now:
                continue
            try:
                self._records[path], self._stamps[path], changed = load_record(path), now, True
            except ChompError as error:
                # It may have been read before, and is gone or damaged now.
                self._records.pop(path, None)
                left_out[path] = said(path, error)
        changed |= left_out != self._left_out
        self._left_out = left_out
        return changed

    def _compared(self) -> Compared:
        """The runs that could be read, side by side."""
        left_out = tuple(self._left_out.values())
        records = [self._records[path] for path in self._paths if path in self._records]
        if not records:
            return Compared(problem="no run is left to compare", left_out=left_out)
        return Compared(_compare(records), left_out=left_out)


def _compare(records: Sequence[RunRecord]) -> Comparison:
    from chomp.record.comparison import compare

    return compare(records)
