"""What a process tells the others of itself every second, and what follows from what is heard of all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median

from chomp.parallel.members import Member

# Seconds without progress in phases that have no steps; with `parallel.stall_after_seconds` if that is longer.
LIMITS = {"start": 1800.0, "compile": 3600.0, "eval": 1800.0, "sample": 1800.0, "save": 3600.0, "end": 1800.0}
# While libraries are loaded, the interpreter may be held for long: a process that starts is not lost so soon.
LEAST_LOST_AT_START = 60.0
ENDLESS = ("paused",)


@dataclass
class Beacon:
    """What a process tells of itself; its main thread changes it, a thread of its own sends it.

    Attributes:
        phase: what the process does: `start`, then as in phase events.
        step: the last completed step.
        dispatched: the last step that the process has given to its devices.
        marks: grows with each completed step, evaluated batch, sample and phase.
        host_seconds: of a step, what the process did itself and did not wait for its devices.
    """

    phase: str = "start"
    step: int = 0
    dispatched: int = 0
    marks: int = 0
    host_seconds: float | None = None

    def enter(self, phase: str) -> None:
        """A phase begins."""
        self.phase = phase
        self.marks += 1

    def encode(self, number: int) -> str:
        """The beacon with its number, which changes each time it is sent."""
        return json.dumps({**asdict(self), "number": number})


@dataclass
class Heard:
    """The newest beacon of a process, and when it changed, by the clock of the process that reads it."""

    beacon: Beacon = field(default_factory=Beacon)
    text: str = ""
    heard_at: float = 0.0
    progress_at: float = 0.0

    def take(self, text: str, now: float) -> None:
        """A beacon was read."""
        if text == self.text:
            return
        record = json.loads(text)
        record.pop("number")
        before, self.beacon = self.beacon, Beacon(**record)
        self.text, self.heard_at = text, now
        if (before.marks, before.phase) != (self.beacon.marks, self.beacon.phase):
            self.progress_at = now

    def was_suspended(self, seconds: float) -> None:
        """The reader itself was stopped for so long."""
        self.heard_at += seconds
        self.progress_at += seconds


@dataclass(frozen=True)
class Limits:
    """The settings of the `parallel` section."""

    lost_after_seconds: float
    stall_after_seconds: float

    def lost(self, phase: str) -> float:
        """Seconds without a beacon after which a process is lost."""
        return max(self.lost_after_seconds, LEAST_LOST_AT_START if phase == "start" else 0.0)

    def stall(self, phase: str) -> float:
        """Seconds without progress after which a process hangs."""
        return max(self.stall_after_seconds, LIMITS.get(phase, 0.0))


def find_lost(heard: Mapping[Member, Heard], limits: Limits, now: float) -> str | None:
    """The sentence about a process that is lost or hangs; None where all is well."""
    for member, one in heard.items():
        silent, beacon = now - one.heard_at, one.beacon
        if silent > limits.lost(beacon.phase):
            return f"{member} was not heard of for {silent:.0f} s, last heard at step {beacon.step}"
    stuck = {
        member: one
        for member, one in heard.items()
        if one.beacon.phase not in ENDLESS and now - one.progress_at > limits.stall(one.beacon.phase)
    }
    if not stuck:
        return None
    # All wait for the one that has given its devices the fewest steps.
    behind = min(one.beacon.dispatched for one in stuck.values())
    slowest = [member for member, one in stuck.items() if one.beacon.dispatched == behind]
    member, one = slowest[0], stuck[slowest[0]]
    what = f"made no progress for {now - one.progress_at:.0f} s in the phase {one.beacon.phase!r}"
    if len(slowest) == len(heard) > 1:
        return f"all processes are alive, and none {what}, last heard at step {one.beacon.step}"
    return f"{member} is alive and {what}, last heard at step {one.beacon.step}"


@dataclass(frozen=True)
class Slowest:
    """The process whose host took longest for a step, of those of a run.

    Attributes:
        index: its number.
        seconds: of a step, what it did itself and did not wait for its devices.
        median_seconds: the same of all processes.
    """

    index: int
    seconds: float
    median_seconds: float

    def row(self) -> dict[str, float]:
        """What a metrics row says of it."""
        return {
            "slowest_process": self.index,
            "host_s_max": round(self.seconds, 6),
            "host_s_median": round(self.median_seconds, 6),
        }


def slowest(heard: Mapping[Member, Heard]) -> Slowest | None:
    """The slowest host; None until all have told."""
    told = {member.index: one.beacon.host_seconds for member, one in heard.items()}
    known = {index: seconds for index, seconds in told.items() if seconds is not None}
    if len(known) < len(told) or not known:
        return None
    index = max(known, key=lambda each: known[each])
    return Slowest(index, known[index], median(known.values()))
