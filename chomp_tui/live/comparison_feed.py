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
    """A comparison, or in one sentence why there is none."""

    comparison: Comparison | None = None
    problem: str | None = None


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
        self._problem = ""

    def look(self) -> Iterator[Compared]:
        began = time.monotonic()
        try:
            if self._read():
                self._problem = ""
                yield Compared(_compare([self._records[path] for path in self._paths]))
        except (ChompError, OSError) as error:
            said = str(error)
            if said != self._problem:
                self._problem = said
                yield Compared(problem=said)
        self.pace(max(INTERVAL_SECONDS, (time.monotonic() - began) / MOST_SHARE))

    def _read(self) -> bool:
        """Read the runs that have changed; returns whether any has."""
        from chomp.record.run_record import load_record
        from chomp.record.same_batches import origin_of

        if len(self._paths) == 1:
            origin = origin_of(RunDir(self._paths[0]))
            if origin is None:
                raise ChompError(
                    f"{self._paths[0].name} is no fork of a run that is there; mark two runs or more with Space on Home"
                )
            self._paths.insert(0, origin)
        changed = False
        for path in self._paths:
            run = RunDir(path)
            now = tuple(map(stamp, (run.events, run.metrics, run.config_resolved, run.notes, run.lock)))
            if path not in self._records or self._stamps.get(path) != now:
                self._records[path], self._stamps[path], changed = load_record(path), now, True
        return changed


def _compare(records: Sequence[RunRecord]) -> Comparison:
    from chomp.record.comparison import compare

    return compare(records)
