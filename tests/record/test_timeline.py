"""The timeline of a run gives, from its events alone, the text that each of its steps read."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from chomp.record.events import Event, RolledBack, RunStarted
from chomp.record.timeline import discarded, read_timeline


@dataclass
class Model:
    """What an engine does with batches, numbered in the order of the text: the next one, and what it trained."""

    events: list[Event] = field(default_factory=lambda: [started(1, None)])
    next: int = 0
    trained: list[int] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)
    saved: dict[int, tuple[int, list[int]]] = field(default_factory=dict)
    attempts: int = 1

    @property
    def step(self) -> int:
        return len(self.trained)

    def read(self) -> int:
        self.next += self.skips.count(self.step + 1) + 1
        return self.next - 1

    def train(self) -> None:
        self.trained.append(self.read())

    def save(self) -> None:
        self.saved.setdefault(self.step, (self.next, list(self.trained)))

    def go_back(self, before: int) -> int:
        """To the newest checkpoint of a step below `before`, or to the start."""
        step = max((one for one in self.saved if one < before), default=0)
        self.next, trained = self.saved.get(step, (0, []))
        self.trained = list(trained)
        self.saved = {one: what for one, what in self.saved.items() if one <= step}
        return step

    def roll_back(self) -> None:
        bad = self.step + 1
        self.read()
        behind = self.next
        step = self.go_back(bad)
        self.next, self.skips = behind, [one for one in self.skips if one <= step]
        self.events.append(rolled_back(step, bad))

    def skip(self, step: int) -> None:
        begin = max((one for one in self.saved if one < step), default=0)
        if any(begin <= jump.after < step for jump in read_timeline(self.events).jumps):
            return  # The engine refuses it.
        reached = self.step
        assert self.go_back(step) == begin
        self.events.append(rolled_back(begin, reached, skipped_step=step))
        self.skips = list(read_timeline(self.events).skips)

    def resume(self) -> None:
        self.attempts += 1
        step = self.go_back(self.step + 1)
        self.events.append(started(self.attempts, step or None))
        self.skips = list(read_timeline(self.events).skips)


def started(attempt: int, step: int | None) -> RunStarted:
    return RunStarted(pid=1, host="h", attempt=attempt, resumed_from=step)


def rolled_back(step: int, bad: int, skipped_step: int | None = None) -> RolledBack:
    return RolledBack(step, bad, 1.0, 0, 0, 0, "", skipped_step=skipped_step)


def replayed(model: Model, step: int) -> list[int]:
    """The batches of the steps after a checkpoint, as the timeline has them."""
    timeline, position, found = read_timeline(model.events), model.saved.get(step, (0, []))[0], []
    for one in range(step + 1, model.step + 1):
        position += timeline.batches_before(one)
        found.append(position)
        position += 1
    return found


@pytest.mark.parametrize("seed", range(200))
def test_each_step_has_the_batch_that_it_trained_on(seed: int) -> None:
    rng, model = random.Random(seed), Model()
    for _ in range(60):
        match rng.choice(["train"] * 8 + ["save", "save", "roll back", "skip", "resume", "forget"]):
            case "train":
                model.train()
            case "save" if model.step:
                model.save()
            case "roll back":
                model.roll_back()
            case "skip" if model.step:
                model.skip(rng.randint(max(1, model.step - 9), model.step))
            case "resume":
                model.resume()
            case "forget" if len(model.saved) > 1:
                del model.saved[rng.choice(sorted(model.saved)[:-1])]
    for step in (0, *model.saved):
        assert replayed(model, step) == model.trained[step:]


def test_attempts_whose_steps_were_replaced_are_not_part_of_the_run() -> None:
    events: list[Event] = [started(1, None), started(2, 30), started(3, 50), started(4, 20)]
    timeline = read_timeline(events)
    assert [attempt.began for attempt in timeline.attempts] == [0, 20]
    assert [one.started.attempt for one in timeline.began_within(10, 40)] == [4]
    assert timeline.began_within(20, 40) == []
    found = [timeline.attempt_of(step) for step in (20, 21)]
    assert [one.started.attempt for one in found if one is not None] == [1, 4]


def test_a_discarded_step_is_found_as_it_was_before_the_rollback() -> None:
    events: list[Event] = [started(1, None), rolled_back(10, 17), rolled_back(20, 23)]
    assert discarded(events, 30) is None
    found = discarded(events, 15)
    assert found is not None
    assert (found[0].jumps, found[1]) == ((), 10)
    found = discarded(events, 23)
    assert found is not None
    assert ([jump.batches for jump in found[0].jumps], found[1]) == ([7], 20)
