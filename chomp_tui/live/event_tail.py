"""`events.jsonl` read by blocks into a view, from its start and then as it grows."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from chomp.record.codec import FORMAT_VERSION, decode
from chomp.record.events import Phase
from chomp.record.fold import Folding
from chomp.record.run_view import RunView
from chomp_tui.live.line_tail import LineTail

_VERSION = re.compile(rb'\{\s*"v"\s*:\s*(\d{1,9})\b')


class EventTail(LineTail[RunView]):
    """Folds the events that were added to a log, with the rows that logs of version 1 hold.

    Attributes:
        view: the run as far as it has been read.
        newer: whether a line said it was of a later format version than this program knows.
    """

    def __init__(self, path: Path):
        self._folding: Folding | None = None
        super().__init__(path)

    def forget(self) -> None:
        super().forget()
        self.view = RunView()
        self.newer = False

    def take(self, lines: bytes) -> None:
        if self._folding is None:
            self._folding = Folding(self.view)
        for line in lines.split(b"\n"):
            self._take_line(line, self._folding)

    def _take_line(self, line: bytes, folding: Folding) -> None:
        event = decode(line)
        version = _VERSION.match(line)
        if version is not None and int(version[1]) > FORMAT_VERSION:
            self.newer = True
        if event is not None:
            folding.add(event)
        elif line.strip():
            self.malformed += 1

    def settle(self) -> None:
        if self._folding is not None:
            self.view, self._folding = self._folding.view(), None

    @property
    def shown(self) -> RunView:
        """The overview of a long file until all of it is read, else the view."""
        return self.view if self.overview is None else self.overview

    def summarize(self, pieces: list[bytes]) -> RunView:
        """The last step is the right one; what happened between beginning and end is left out, except for rows."""
        first, *between, last = pieces
        folding = Folding(RunView())
        _add_lines(folding, first)
        for piece in between:
            _add_lines(folding, piece, (b'"kind":"eval"', b'"kind":"step"'))
        before = folding.view()
        _add_lines(folding, last)
        view = folding.view()
        if view.phase is not None and view.phase is before.phase and view.last_t is not None:
            # Something else may have been done between, but the end of the file is rows.
            view = dataclasses.replace(view, phase=Phase(name="train", step=view.step, t=view.phase.t))
        return view


def _add_lines(folding: Folding, lines: bytes, kinds: tuple[bytes, ...] = (b"",)) -> None:
    for line in lines.split(b"\n"):
        event = decode(line) if any(kind in line for kind in kinds) else None
        if event is not None:
            folding.add(event)
