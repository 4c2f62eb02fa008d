"""Steering a live run: what is asked, whether it can be, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chomp.record.commands import Command, permission_problem, send_command
from chomp.record.events import Acknowledged
from chomp.record.run_view import RunView
from chomp.record.status import Status, Tone

# After so many seconds without an answer it is said why there may be none yet.
SLOW_SECONDS = 10.0
# How long an answer stays on the screen.
SHOWN_SECONDS = 12.0
SHOWN_FAILED_SECONDS = 60.0
# An answer is dated by the engine, a request by this console, and machines' clocks differ a little.
LABELS = {
    "pause": "pause",
    "resume": "go on",
    "save": "save",
    "eval": "evaluate",
    "sample": "sample",
    "stop": "save and stop",
    "abort": "stop without saving",
}
WHY_SLOW = {
    "data": "it is reading its data",
    "compile": "it is compiling",
    "eval": "it is evaluating",
    "sample": "it is sampling",
    "save": "it is saving",
    "paused": "it is paused",
    "train": "a step takes long",
}


@dataclass(frozen=True)
class Asked:
    """A command of this console.

    Attributes:
        at: Unix time of the request.
        problem: why it could not be written, else None.
    """

    id: str
    command: str
    at: float
    problem: str | None = None

    @property
    def label(self) -> str:
        return LABELS.get(self.command, self.command)


@dataclass(frozen=True)
class Line:
    """What to say of a request; `until` is the Unix time after which it need not be said, None while it is open."""

    text: str
    tone: Tone
    until: float | None = None


def asked(command: Command) -> Asked:
    """The record of a command that is about to be sent."""
    return Asked(command.id, command.command, command.t)


def send(path: Path, command: Command) -> str | None:
    """Append a command to a run's command file; returns why the engine will not obey it, or None. May block."""
    try:
        send_command(path, command)
        reason = permission_problem(path)
    except OSError as error:
        return f"{path.name} cannot be written: {error.strerror or error}"
    return None if reason is None else f"the engine will not obey: {reason}"


def why_not(status: Status, *, read_only: bool, elsewhere: str | None = None) -> str | None:
    """Why this run cannot be steered from here, in one sentence, or None."""
    if read_only:
        return "this console is read-only"
    if status.is_live:
        return None
    if elsewhere is not None:
        return f"the engine was started on {elsewhere}; steer it from there"
    return f"no engine is running here: the run is {status.word}"


def pause_or_resume(view: RunView, pending: Sequence[Asked]) -> str:
    """The command that turns around what is, or what has been asked for last and not been answered."""
    for one in reversed(open_ones(pending, view)):
        if one.command in ("pause", "resume"):
            return "resume" if one.command == "pause" else "pause"
    return "resume" if view.is_paused else "pause"


def answer_to(one: Asked, view: RunView) -> Acknowledged | None:
    """The engine's answer, or None as long as there is none."""
    return next((answer for answer in reversed(view.answers) if answer.id == one.id), None)


def open_ones(pending: Sequence[Asked], view: RunView) -> list[Asked]:
    """Those that were sent and are not answered."""
    return [one for one in pending if one.problem is None and answer_to(one, view) is None]


def failed(one: Asked, problem: str) -> Asked:
    """The same, which could not be written."""
    return replace(one, problem=problem)


def told(one: Asked, view: RunView, *, alive: bool, now: float) -> Line:
    """What to say of a request now."""
    if one.problem is not None:
        return Line(f"{one.label}: {one.problem}", "bad", one.at + SHOWN_FAILED_SECONDS)
    answer = answer_to(one, view)
    if answer is not None:
        stays = SHOWN_SECONDS if answer.ok else SHOWN_FAILED_SECONDS
        sign, tone = ("✓", "good") if answer.ok else ("✗", "bad")
        text = f"{sign} {one.label}: {answer.message}"
        return Line(text, tone, max(answer.t, one.at) + stays)  # type: ignore[arg-type]
    waited = max(0, int(now - one.at))
    if not alive:
        return Line(f"✗ {one.label}: the engine ended before it answered", "bad", one.at + SHOWN_FAILED_SECONDS)
    if waited < SLOW_SECONDS:
        return Line(f"◌ {one.label}: asked … {waited} s", "warn")
    phase = view.phase.name if view.phase is not None else ""
    why = WHY_SLOW.get(phase, "it is busy")
    return Line(f"◌ {one.label}: not yet answered, {why} … {waited} s", "warn")


def others(view: RunView, mine: Sequence[Asked], now: float) -> Line | None:
    """What somebody else asked for and was answered just now."""
    known = {one.id for one in mine}
    for answer in reversed(view.answers):
        if now - answer.t > SHOWN_SECONDS:
            return None
        if answer.id not in known:
            label = LABELS.get(answer.command, answer.command)
            text = f"{'✓' if answer.ok else '✗'} {label}, asked elsewhere: {answer.message}"
            return Line(text, "good" if answer.ok else "bad", answer.t + SHOWN_SECONDS)
    return None


def steering_line(view: RunView, mine: Sequence[Asked], *, alive: bool, now: float) -> Line | None:
    """The one thing to say about steering: what is open first, then the newest answer."""
    lines = [told(one, view, alive=alive, now=now) for one in mine]
    waiting = [line for line in lines if line.until is None]
    if waiting:
        more = f"   (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        return replace(waiting[-1], text=waiting[-1].text + more)
    recent = [line for line in lines if line.until is not None and line.until > now]
    return recent[-1] if recent else others(view, mine, now)
