"""Time budget and speed, by a clock that the test turns."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chomp.config.validate import config_from_dict
from chomp.step.train_step import StepMetrics
from chomp.train.clock import CATEGORIES, SpeedMeter, TimeBudget
from chomp.train.hooks.log import has_row
from chomp.train.metrics import MetricsAggregator, shortest_repr
from chomp.train.progress import Pending


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> TimeBudget:
    return TimeBudget(now=clock)


def test_training_is_what_nothing_else_claims(clock: Clock, budget: TimeBudget) -> None:
    with budget.measure("startup"):
        clock.turn(2)
    with budget.measure("compile"):
        clock.turn(30)
    clock.turn(5)
    with budget.measure("data_wait"):
        clock.turn(1)
    totals = budget.totals()
    assert totals == {**dict.fromkeys(CATEGORIES, 0.0), "startup": 2.0, "compile": 30.0, "train": 5.0, "data_wait": 1.0}
    assert tuple(totals) == CATEGORIES


def test_what_is_nested_is_counted_once(clock: Clock, budget: TimeBudget) -> None:
    """A save and an evaluation during a pause are not the pause's."""
    with budget.measure("paused"):
        clock.turn(10)
        with budget.measure("save"):
            clock.turn(3)
        clock.turn(1)
        with budget.measure("eval"):
            clock.turn(4)
            with budget.measure("save"):
                clock.turn(2)
        clock.turn(5)
    totals = budget.totals()
    assert (totals["paused"], totals["save"], totals["eval"], totals["train"]) == (16.0, 5.0, 4.0, 0.0)
    assert budget.outside_steps() == 25.0


def test_totals_include_what_is_still_under_way(clock: Clock, budget: TimeBudget) -> None:
    with budget.measure("eval"):
        clock.turn(7)
        assert budget.totals()["eval"] == 7.0
        assert budget.totals()["train"] == 0.0


def test_an_error_ends_a_measurement_too(clock: Clock, budget: TimeBudget) -> None:
    def fail() -> None:
        with budget.measure("paused"), budget.measure("sample"):
            clock.turn(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.turn(4)
    totals = budget.totals()
    assert (totals["sample"], totals["paused"], totals["train"]) == (3.0, 0.0, 4.0)


def test_the_clock_stands_still_while_the_process_is_suspended(clock: Clock, budget: TimeBudget) -> None:
    clock.turn(1)
    meter = SpeedMeter(budget)
    clock.turn(2)
    clock.turn(600)
    budget.suspended(600)
    with budget.measure("eval"):
        clock.turn(50)
        budget.suspended(50)
        clock.turn(3)
    totals = budget.totals()
    assert (totals["train"], totals["eval"], totals["paused"]) == (3.0, 3.0, 650.0)
    assert meter.read().seconds == 2.0


def test_earlier_attempts_are_added(clock: Clock, budget: TimeBudget) -> None:
    clock.turn(5)
    budget.start_from({"train": 100.0, "lost": 7.5, "a category of the future": 3.0})
    assert budget.totals()["train"] == 105.0
    assert budget.totals()["lost"] == 7.5
    assert sum(budget.totals().values()) == 112.5


def test_an_empty_window_has_no_speed(budget: TimeBudget) -> None:
    speed = SpeedMeter(budget).read()
    assert (speed.steps, speed.seconds, speed.tokens_per_sec, speed.step_time_s) == (0, 0.0, 0.0, 0.0)


def config(log_every: int) -> Any:
    return config_from_dict({"model": {"backend": "dummy"}, "train": {"steps": 97, "log_every": log_every}})


def metrics(step: int) -> StepMetrics:
    whole = StepMetrics(*(np.float32(1.0) for _ in StepMetrics._fields))
    return whole._replace(tokens=np.int32(100 + step), group_lrs={}, terms={})


def pending(step: int, utilization: float = 1.0) -> Pending:
    return Pending(step, metrics(step), {}, 128, utilization)


@pytest.mark.parametrize("log_every", [1, 10])
def test_step_times_add_up_to_the_time_spent_in_steps(log_every: int, clock: Clock, budget: TimeBudget) -> None:
    """The sum of step_time_s x steps is wall time less evaluations, saves, samples and pauses, to 1 µs a step."""
    rng = random.Random(log_every)
    with budget.measure("compile"):
        clock.turn(33)
    settings = config(log_every)
    maker = MetricsAggregator(settings, budget, tokens_per_step=128, flops_per_token=6.0, peak_flops=1e6)
    began, outside, rows = clock.time, 0.0, []
    for step in range(1, 98):
        with budget.measure("data_wait"):
            clock.turn(rng.random() * 0.05)
        clock.turn(0.1 + rng.random())
        maker.completed(pending(step), 100 + step)
        evaluated = step % 20 == 0
        if has_row(step, settings.train, evaluated=evaluated):
            rows.append(maker.make(step, metrics(step), 0))
        for every, category, seconds in (
            (20, "eval", 5.0),
            (30, "save", 1.0),
            (25, "sample", 2.0),
            (40, "paused", 100.0),
        ):
            if step % every == 0:
                with budget.measure(category):
                    clock.turn(seconds)
                outside += seconds
    assert rows[-1]["step"] == 97
    steps = np.diff([0, *(row["step"] for row in rows)])
    total = sum(row["step_time_s"] * count for row, count in zip(rows, steps, strict=True))
    assert total == pytest.approx(clock.time - began - outside, abs=97e-6)
    spent = budget.totals()
    assert total == pytest.approx(spent["train"] + spent["data_wait"], abs=2e-3)
    tokens = sum(row["tokens_per_sec"] * row["step_time_s"] * count for row, count in zip(rows, steps, strict=True))
    assert tokens == pytest.approx(sum(100 + step for step in range(1, 98)), rel=1e-3)
    flops = sum(row["mfu"] * 1e6 * row["step_time_s"] * count for row, count in zip(rows, steps, strict=True))
    assert flops == pytest.approx(97 * 128 * 6.0, rel=0.1), "mfu has four digits"


def test_rows_come_at_their_cadence_first_last_and_at_evaluations() -> None:
    train = config(10).train
    due = [step for step in range(1, 98) if has_row(step, train, evaluated=step == 25)]
    assert due == [1, 10, 20, 25, 30, 40, 50, 60, 70, 80, 90, 97]


def test_a_row_describes_its_window(clock: Clock, budget: TimeBudget) -> None:
    maker = MetricsAggregator(config(2), budget, tokens_per_step=128, flops_per_token=1.0, peak_flops=None)
    maker.compiled(0.5)
    clock.turn(1)
    maker.completed(pending(1, 0.5), 60)
    clock.turn(3)
    maker.completed(pending(2, 1.0), 100)
    row = maker.make(2, metrics(2), 160)
    assert (row["step_time_s"], row["tokens_per_sec"], row["packing_utilization"]) == (2.0, 40.0, 0.75)
    assert row["first_step_compile_time_s"] == 0.5
    assert "mfu" not in row, "unknown peak: absent, not zero"
    clock.turn(2)
    maker.completed(pending(3), 100)
    second = maker.make(3, metrics(3), 260)
    assert (second["step_time_s"], second["packing_utilization"]) == (2.0, 1.0)
    assert "first_step_compile_time_s" not in second


def test_training_that_is_given_up_is_lost_and_nothing_else(clock: Clock, budget: TimeBudget) -> None:
    clock.turn(10)
    since = budget.totals()
    with budget.measure("data_wait"):
        clock.turn(3)
    with budget.measure("eval"):
        clock.turn(4)
    clock.turn(20)
    budget.give_up(since)
    totals = budget.totals()
    assert (totals["train"], totals["data_wait"], totals["eval"], totals["lost"]) == (10.0, 0.0, 4.0, 23.0)
    clock.turn(1)
    budget.give_up(totals)
    assert (budget.totals()["train"], budget.totals()["lost"]) == (10.0, 24.0)


def test_a_row_after_a_rollback_tells_of_the_steps_after_it_only(clock: Clock, budget: TimeBudget) -> None:
    maker = MetricsAggregator(config(10), budget, tokens_per_step=128, flops_per_token=6.0, peak_flops=1e6)
    maker.completed(pending(1, 0.0), 100)
    clock.turn(100)
    maker.restart()
    assert not maker.has_steps()
    maker.completed(pending(1, 0.5), 100)
    clock.turn(2)
    row = maker.make(1, metrics(1), 0)
    assert (row["packing_utilization"], row["step_time_s"]) == (0.5, 2.0)


@given(st.floats(width=32))
def test_a_number_in_few_digits_is_the_same_number(value: float) -> None:
    told = shortest_repr(np.float32(value))
    assert np.float32(told).tobytes() == np.float32(value).tobytes() or np.isnan(value)
    assert np.isnan(value) or np.isinf(value) or len(Decimal(repr(told)).normalize().as_tuple().digits) <= 9


def test_numbers_are_told_in_the_digits_of_their_own_type() -> None:
    assert shortest_repr(jnp.float32(2.5312242507934570)) == 2.5312243
    assert shortest_repr(np.float64(2.5312242507934570)) == 2.531224250793457
    assert np.isnan(shortest_repr(np.float32("nan")))
