"""Commands to a live run: whether one can be sent, sending it, and its status."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chomp.record.commands import Command, permission_problem, send_command
from chomp.record.events import Acknowledged
from chomp.record.run_view import CheckpointStatus, RunView
from chomp.record.status import Status, Tone

# After so many seconds without an answer, its status gives the likely reason.
SLOW_SECONDS = 10.0
# How long an answer stays on the screen. An answer is dated by the engine, a command by this console, and the clocks of
# two machines differ a little.
SHOWN_SECONDS = 12.0
SHOWN_FAILED_SECONDS = 60.0
LABELS = {
    "pause": "pause",
    "resume": "resume",
    "save": "save",
    "eval": "evaluate",
    "sample": "sample",
    "profile": "profile",
    "skip": "skip a batch",
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
class SentCommand:
    """A command that this console has sent.

    Attributes:
        at: Unix time.
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
class CommandStatus:
    """What became of a command; shown until the Unix time `until`, None while there is no answer."""

    text: str
    tone: Tone
    until: float | None = None


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


def pause_or_resume(view: RunView, pending: Sequence[SentCommand]) -> str:
    """The opposite of the newest unanswered pause or resume, or of the run's state."""
    for one in reversed(unanswered(pending, view)):
        if one.command in ("pause", "resume"):
            return "resume" if one.command == "pause" else "pause"
    return "resume" if view.is_paused else "pause"


def answer_to(one: SentCommand, view: RunView) -> Acknowledged | None:
    """The engine's answer, or None as long as there is none."""
    return next((answer for answer in reversed(view.answers) if answer.id == one.id), None)


def unanswered(pending: Sequence[SentCommand], view: RunView) -> list[SentCommand]:
    """Those that were written and have no answer."""
    return [one for one in pending if one.problem is None and answer_to(one, view) is None]


def status_of(one: SentCommand, view: RunView, *, alive: bool, now: float) -> CommandStatus:
    """The status of a command of this console."""
    if one.problem is not None:
        return CommandStatus(f"{one.label}: {one.problem}", "bad", one.at + SHOWN_FAILED_SECONDS)
    answer = answer_to(one, view)
    if answer is not None:
        stays = SHOWN_SECONDS if answer.ok else SHOWN_FAILED_SECONDS
        sign, tone = ("✓", "good") if answer.ok else ("✗", "bad")
        text = f"{sign} {one.label}: {answer.message}"
        # Retention deletes once the save is complete, which may be later than the answer.
        deleted = _deleted_since(answer, view)
        if deleted:
            steps = ", ".join(f"{gone.step:,}" for gone in deleted)
            text += f"; retention deleted step {steps} (tagged checkpoints stay)"
        latest = max([answer.t, one.at, *(gone.t for gone in deleted)])
        return CommandStatus(text, tone, latest + stays)  # type: ignore[arg-type]
    waited = max(0, int(now - one.at))
    if not alive:
        return CommandStatus(
            f"✗ {one.label}: the engine ended before it answered", "bad", one.at + SHOWN_FAILED_SECONDS
        )
    if waited < SLOW_SECONDS:
        return CommandStatus(f"◌ {one.label}: asked … {waited} s", "warn")
    phase = view.phase.name if view.phase is not None else ""
    why = WHY_SLOW.get(phase, "it is busy")
    return CommandStatus(f"◌ {one.label}: not yet answered, {why} … {waited} s", "warn")


def _deleted_since(answer: Acknowledged, view: RunView) -> list[CheckpointStatus]:
    """The checkpoints that were deleted because of a save: between its end and that of the next."""
    saved = view.checkpoints.get(answer.step)
    if answer.command != "save" or saved is None or saved.state != "committed":
        return []
    later = [one.t for one in view.checkpoints.values() if one.state == "committed" and one.t > saved.t]
    until = min(later, default=math.inf)
    return [one for one in view.checkpoints.values() if one.state == "deleted" and saved.t <= one.t < until]


def status_elsewhere(view: RunView, mine: Sequence[SentCommand], now: float) -> CommandStatus | None:
    """The newest answer to a command of another console."""
    known = {one.id for one in mine}
    for answer in reversed(view.answers):
        if now - answer.t > SHOWN_SECONDS:
            return None
        if answer.id not in known:
            label = LABELS.get(answer.command, answer.command)
            text = f"{'✓' if answer.ok else '✗'} {label}, asked elsewhere: {answer.message}"
            return CommandStatus(text, "good" if answer.ok else "bad", answer.t + SHOWN_SECONDS)
    return None


def newest_status(view: RunView, mine: Sequence[SentCommand], *, alive: bool, now: float) -> CommandStatus | None:
    """The status to show: of an unanswered command first, else of the newest answer."""
    lines = [status_of(one, view, alive=alive, now=now) for one in mine]
    waiting = [line for line in lines if line.until is None]
    if waiting:
        more = f"   (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        return replace(waiting[-1], text=waiting[-1].text + more)
    recent = [line for line in lines if line.until is not None and line.until > now]
    return recent[-1] if recent else status_elsewhere(view, mine, now)
