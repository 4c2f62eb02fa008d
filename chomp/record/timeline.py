"""Which text the steps of a run read, and who computed them: what its events say of rollbacks, skips and resumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chomp.record.events import Event, RolledBack, RunStarted


@dataclass(frozen=True)
class Jump:
    """A rollback in force: after step `after` the run continued behind `batches` more batches of its text.

    Attributes:
        lr_factor, until_step: as in `RolledBack`.
    """

    after: int
    batches: int
    lr_factor: float
    until_step: int


@dataclass(frozen=True)
class Attempt:
    """An attempt whose steps are part of the run: those after `began`, up to where the next one began."""

    began: int
    started: RunStarted


@dataclass(frozen=True)
class Timeline:
    """How the steps of a run came about.

    Attributes:
        jumps: rollbacks to which the steps after them owe their text, in order.
        skips: steps before which the user leaves out a batch, in order; a step may occur several times.
        attempts: those of which steps are left, in order.
    """

    jumps: tuple[Jump, ...] = ()
    skips: tuple[int, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    def batches_before(self, step: int) -> int:
        """Batches that are read and not trained on, just before `step`."""
        return sum(jump.batches for jump in self.jumps if jump.after == step - 1) + self.skips.count(step)

    def jump_at(self, step: int) -> Jump | None:
        """The last rollback to `step` that is in force."""
        return next((jump for jump in reversed(self.jumps) if jump.after == step), None)

    def began_within(self, first: int, last: int) -> list[Attempt]:
        """The attempts that began after step `first` and before step `last`."""
        return [attempt for attempt in self.attempts if first < attempt.began < last]

    def attempt_of(self, step: int) -> Attempt | None:
        """The attempt that computed `step`."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.began < step), None)


def read_timeline(events: Iterable[Event]) -> Timeline:
    """The timeline after these events.

    A resume from step r forgets what came after r, and rollbacks to r too: the checkpoint of r is from before them. To
    leave out the batch of step r forgets them likewise. Skips stay in force until a rollback continues behind them.
    """
    moves: list[Jump | int] = []
    attempts: list[Attempt] = []
    for event in events:
        if isinstance(event, RolledBack):
            step = event.skipped_step
            jump = _jump(*_in_force(moves), event)
            moves = [*moves, jump] if step is None else [*_without_rollbacks(moves, step), step]
        elif isinstance(event, RunStarted):
            began = event.resumed_from or 0
            moves = _without_rollbacks(moves, began)
            attempts = [attempt for attempt in attempts if attempt.began < began] + [Attempt(began, event)]
    jumps, skips = _in_force(moves)
    return Timeline(tuple(jumps), tuple(skips), tuple(attempts))


def _without_rollbacks(moves: list[Jump | int], step: int) -> list[Jump | int]:
    """Moves without the rollbacks to this step or a later one."""
    return [move for move in moves if isinstance(move, int) or move.after < step]


def _in_force(moves: Iterable[Jump | int]) -> tuple[list[Jump], list[int]]:
    """The jumps and skips that are left of rollbacks and of steps that were left out, in the order of the events."""
    jumps: list[Jump] = []
    skips: list[int] = []
    for move in moves:
        if isinstance(move, int):
            # Later batches come a step sooner.
            skips = sorted([*(step - (step > move) for step in skips), move])
        else:
            jumps = [*(jump for jump in jumps if jump.after <= move.after), move]
            skips = [step for step in skips if step <= move.after]
    return jumps, skips


def _jump(jumps: list[Jump], skips: list[int], event: RolledBack) -> Jump:
    """A rollback continues behind all that was read up to its bad step."""
    passed = sum(jump.batches for jump in jumps if event.step < jump.after < event.from_step)
    left_out = sum(event.step < step <= event.from_step for step in skips)
    batches = event.from_step - event.step + passed + left_out
    return Jump(event.step, batches, event.lr_factor, event.until_step)


def discarded(events: Iterable[Event], step: int) -> tuple[Timeline, int] | None:
    """What the last rollback that discarded `step` found: the timeline, and the step that it went back to."""
    listed = list(events)
    for index in reversed(range(len(listed))):
        event = listed[index]
        if isinstance(event, RolledBack) and event.step < step <= event.from_step:
            return read_timeline(listed[:index]), event.step
    return None
