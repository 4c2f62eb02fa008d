"""What a list says of one run: state, progress, losses, age; quick for runs of any size.

A long event log is not read as a whole. Its last part is, and of what lies before it only
single lines: the last start, the last evaluation. After that first look only what was
added is read.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chomp.errors import ChompError
from chomp.record.codec import decode
from chomp.record.event_log import EventReader
from chomp.record.events import Evaluated, Event, Phase, RolledBack, RunEnded, RunStarted, Step, number
from chomp.record.lock import live_holder, read_holder
from chomp.record.manifest import checkpoint_steps
from chomp.record.origin import Origin, read_origin
from chomp.record.rundir import RunDir, open_run
from chomp.record.tail import find_last_line, last_row, read_tail, thinned_losses

# Of a log longer than this, only so much of its end is decoded; single earlier lines are searched for in SEARCH_BYTES.
TAIL_BYTES = 1 << 19
SEARCH_BYTES = 1 << 24
CURVE_POINTS = 48
# How many rows without a loss, or ends of attempts that never started, are passed over.
RECALLED_LINES = 64
SAMPLE_BYTES = 1 << 16
SAMPLE_CHARACTERS = 300

COPIED = "a copy: the engine still runs in the original directory"
KILLED = "the engine ended without a last event: killed, or the machine went down"


@dataclass(frozen=True)
class RunSummary:
    """One run in a line.

    Attributes:
        state: `new`, `running`, or how the run ended: `completed`, `stopped`, `data_exhausted`, `crashed`;
            `unreadable` where the files cannot be read.
        reason: in words, why it is in that state; None where nothing was said.
        phase: what an engine that has not ended said last that it does.
        loss: the last training loss, nats per token.
        eval_loss: the last evaluation's.
        last_t: Unix time of the last event.
        started_t: Unix time of the last start.
        pid: of the engine that lives on this machine.
        since: Unix time at which that engine was started.
        attempts: engines that started this run, as far as the last start tells.
        losses: training losses from the first to the last row, thinned out.
        sample: the last sample, its prompt included.
        bytes: of all files, where somebody has added them up.
    """

    name: str
    path: Path
    state: str = "new"
    reason: str | None = None
    phase: str | None = None
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    last_t: float = 0.0
    started_t: float = 0.0
    pid: int | None = None
    since: float = 0.0
    attempts: int = 0
    device: str = ""
    parameters: int | None = None
    checkpoints: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    sample: str = ""
    origin: Origin | None = None
    bytes: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether its engine is known to live."""
        return self.pid is not None

    def age_seconds(self, now: float) -> float:
        """Seconds since the last event."""
        return max(0.0, now - self.last_t)


@dataclass
class _Story:
    """The events of a run so far, reduced to what a summary needs."""

    state: str = "new"
    reason: str | None = None
    phase: str | None = None
    step: int = 0
    total: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    last_t: float = 0.0
    started: RunStarted | None = None
    # When the run went back to an earlier step: rows from before that may be beyond it.
    back_t: float = 0.0

    def fold(self, event: Event) -> None:
        self.last_t = event.t or self.last_t
        match event:
            case RunStarted():
                self.state, self.reason, self.started, self.phase = "running", None, event, None
                self.total = _whole(event.total_steps)
                self.step, self.back_t = _whole(event.resumed_from) or 0, event.t
            case Step(row={"step": int(reached), "loss": float() | int() as newest}):
                self.step, self.loss = reached, newest
            case Step(row={"step": int(reached)}):
                self.step = max(self.step, reached)
            case Evaluated(step=int(reached)):
                self.step = max(self.step, reached)
                self.eval_loss = _number(event.loss)
            case RolledBack():
                self.step, self.back_t = _whole(event.step) or 0, event.t
            case Phase():
                self.phase = str(event.name)
            case RunEnded():
                self.phase = None
                # After an ended attempt, this is a resume that was refused before it started: the run is as it was.
                if self.state in ("running", "new"):
                    self.state, self.reason = str(event.status), _text(event.reason)
                    self.step = max(self.step, _whole(event.step) or 0)

    def with_row(self, row: dict[str, Any] | None, losses: tuple[float, ...]) -> _Story:
        """The story with the newest metrics row and the losses; a row that is about to be removed does not count."""
        t = number((row or {}).get("t"))
        if row is None or not (t > self.back_t or (t > 0 and row["step"] <= self.step)):
            return self
        return replace(
            self,
            step=max(self.step, row["step"]),
            loss=losses[-1] if losses else self.loss,
            last_t=max(self.last_t, t),
        )


class SummaryReader:
    """Summaries of one run, again and again; each reads only what was added since the one before.

    Args:
        path: the run directory.
        tail_bytes: how much of the end of a longer log is decoded at the first look.
        search_bytes: how far back from its end single lines are searched for.
    """

    def __init__(self, path: Path, *, tail_bytes: int = TAIL_BYTES, search_bytes: int = SEARCH_BYTES) -> None:
        self.path = path
        self._tail_bytes = tail_bytes
        self._search_bytes = search_bytes
        self._story = _Story()
        self._reader: EventReader | None = None
        self._stamps: tuple[Stamp, ...] = ()
        self._details: dict[str, Any] = {}
        self._metrics = RunDir(path).metrics
        self._row: dict[str, Any] | None = None

    def read(self) -> RunSummary:
        """The run as it is now.

        Raises:
            OSError: its event log cannot be read.
        """
        run = RunDir(self.path)
        # Taken before reading: what is added meanwhile is seen the next time.
        stamps = tuple(map(stamp, (run.events, self._metrics, run.checkpoints, run.config_resolved, run.origin)))
        if stamps != self._stamps:
            self._catch_up(run)
            named = _named(run)
            self._metrics, self._row = named.metrics, last_row(named.metrics)
            self._details = _details(named)
            self._stamps = stamps
        story = self._story.with_row(self._row, self._details["losses"])
        started = story.started
        holder = live_holder(run.lock)
        state, reason = self._judge(run, is_live=holder is not None)
        return RunSummary(
            name=run.name,
            path=self.path,
            state=state,
            reason=reason,
            phase=story.phase,
            step=story.step,
            total_steps=story.total,
            loss=_number(story.loss),
            eval_loss=story.eval_loss,
            last_t=story.last_t or self.path.stat().st_mtime,
            started_t=started.t if started else 0.0,
            pid=holder.pid if holder else None,
            since=holder.started if holder else 0.0,
            attempts=(_whole(started.attempt) or 0) if started else 0,
            device=_device(started),
            parameters=_whole(started.parameters) if started else None,
            **self._details,
        )

    def _catch_up(self, run: RunDir) -> None:
        if self._reader is None:
            self._begin(run)
        assert self._reader is not None
        for event in self._reader.read():
            if self._reader.restarted:
                # Another log under the same name: nothing of the old story holds.
                self._begin(run)
                return
            self._story.fold(event)

    def _begin(self, run: RunDir) -> None:
        self._story, offset = _first_look(run, self._tail_bytes, self._search_bytes)
        self._reader = EventReader(run.events, offset=offset)

    def _judge(self, run: RunDir, *, is_live: bool) -> tuple[str, str | None]:
        """State and reason: an engine that said nothing of its end may be gone all the same."""
        state, reason = self._story.state, self._story.reason
        if is_live or state != "running":
            return state, reason
        named = read_holder(run.lock)
        if named is not None and not named.is_here():
            return state, f"on {named.host}; this machine cannot tell whether it still runs"
        if named is not None and named.is_alive():
            # It holds another directory's lock.
            return "stopped", COPIED
        return "crashed", KILLED


def summarize(path: Path) -> RunSummary:
    """The summary of the run at `path`.

    Raises:
        OSError: its event log cannot be read.
    """
    return SummaryReader(path).read()


Stamp = tuple[int, ...] | None


def stamp(path: Path) -> Stamp:
    """Something that changes when the file or folder does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _first_look(run: RunDir, tail_bytes: int, search_bytes: int) -> tuple[_Story, int]:
    """The story told by the end of the log, and the offset up to which it is told."""
    story = _Story()
    try:
        start, lines = read_tail(run.events, tail_bytes)
    except FileNotFoundError:
        return story, 0
    before = _recall(run.events, start, search_bytes) if start else []
    if start > search_bytes and not any(b'"kind":"run_started"' in line for line in before):
        # Too far back: an attempt this long got going, and its length stands in the settings too.
        story.state, story.total = "running", _settled_steps(run)
    for line in [*before, *lines.splitlines(keepends=True)]:
        event = decode(line)
        if event is not None:
            story.fold(event)
    return story, start + len(lines)


def _recall(events: Path, end: int, search_bytes: int) -> list[bytes]:
    """The lines before offset `end` that a story needs, in order: the last start and evaluation, last rows, ends."""
    floor = max(0, end - search_bytes)
    found: dict[int, bytes] = {}

    def search(kind: str, before: int) -> int:
        hit = find_last_line(events, f'"kind":"{kind}"'.encode(), end=before, limit=before - floor)
        if hit is None:
            return -1
        found[hit[0]] = hit[1]
        return hit[0]

    begun = search("run_started", end)
    search("eval", end)
    for kind in ("step", "run_ended"):
        place = end
        for _ in range(RECALLED_LINES):
            place = search(kind, place)
            # Of rows, one with a loss is enough; of ends, the first after the start counts.
            if place < 0 or (kind == "step" and b'"loss":null' not in found[place]):
                break
            if kind == "run_ended" and place < begun:
                break
    return [found[place] for place in sorted(found)]


def _settled_steps(run: RunDir) -> int | None:
    try:
        return _whole(run.load_resolved().get("train", {}).get("steps"))
    except (ChompError, AttributeError):
        return None


def _named(run: RunDir) -> RunDir:
    """The run with the names that its settings give to its files; settings that cannot be read name none."""
    with contextlib.suppress(ChompError):
        return open_run(run.path)
    return run


def _details(run: RunDir) -> dict[str, Any]:
    """What other files than the event log say."""
    return {
        "checkpoints": tuple(checkpoint_steps(run.checkpoints)),
        "losses": thinned_losses(run.metrics, CURVE_POINTS) or thinned_losses(run.events, CURVE_POINTS),
        "sample": _last_sample(run.samples),
        "origin": read_origin(run),
    }


def _last_sample(path: Path) -> str:
    try:
        _, lines = read_tail(path, SAMPLE_BYTES)
        row = json.loads(lines.splitlines()[-1])
        return f"{row['prompt']}{row['text']}"[:SAMPLE_CHARACTERS]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""


def _device(started: RunStarted | None) -> str:
    facts = started.device if started is not None and isinstance(started.device, dict) else {}
    name, number = facts.get("name"), facts.get("count")
    if not isinstance(name, str):
        return ""
    return f"{number} × {name}" if isinstance(number, int) and number > 1 else name


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
