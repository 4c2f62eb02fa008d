"""How long a run will still take."""

from __future__ import annotations

import pytest

from chomp.record.events import Acknowledged, Checkpoint, Evaluated, Event, Sampled, SetEvaluated, TaskEvaluated
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from chomp.sinks.terminal import EtaMeter
from chomp_tui.live.eta import eta_seconds, progress, step_seconds
from tests.fakeruns import T0, ended, phase, row, started


def view(*events: Event) -> RunView:
    return fold(RunView(), [phase("data"), started(), phase("train"), *events])


def test_nothing_is_promised_before_there_is_something_to_go_by() -> None:
    assert eta_seconds(RunView(), T0) is None
    assert progress(RunView()) is None
    assert eta_seconds(view(), T0) is None
    assert eta_seconds(view(row(1)), T0 + 1) is None
    assert eta_seconds(view(row(1, step_time_s=None), row(2, step_time_s=0.0)), T0 + 2) is None


def test_steps_to_go_at_the_usual_pace() -> None:
    run = view(*(row(step, step_time_s=2.0) for step in range(1, 101)))
    assert eta_seconds(run, T0 + 100) == pytest.approx(900 * 2.0)
    assert progress(run) == 0.1


def test_compiling_pauses_and_a_few_slow_steps_count_nothing() -> None:
    rows = [row(step, step_time_s=50.0 if step in (1, 40, 41) else 2.0) for step in range(1, 101)]
    rows[0].row["first_step_compile_time_s"] = 500.0
    assert eta_seconds(view(*rows), T0 + 100) == pytest.approx(900 * 2.0)
    paused = view(*rows, phase("paused", 100, t=T0 + 100))
    assert eta_seconds(paused, T0 + 5000) == pytest.approx(900 * 2.0)


def test_rows_count_by_the_steps_they_stand_for() -> None:
    rows = [row(1, step_time_s=9.0), row(2, step_time_s=9.0), row(100, step_time_s=1.0)]
    assert step_seconds(view(*rows)) == 1.0


def test_time_passes_between_two_rows_but_not_beyond_the_next() -> None:
    run = view(*(row(step, step_time_s=2.0, t=T0 + 2 * step) for step in range(10, 101, 10)))
    now = T0 + 200
    assert eta_seconds(run, now + 6) == pytest.approx(1800 - 6)
    assert eta_seconds(run, now + 500) == pytest.approx(1800 - 20)
    assert eta_seconds(run, now - 3600) == pytest.approx(1800)


def test_evaluations_samples_and_saves_have_their_share() -> None:
    events: list[Event] = []
    for step in range(1, 101):
        events.append(row(step))
        if step % 10 == 0:
            # The first evaluation compiles.
            seconds = 60.0 if step == 10 else 5.0
            events.append(Evaluated(step, 2.0, 7.4, None, 5, seconds, t=T0 + step))
            events += [Sampled(step, prompt, "x", 1, 1.0, t=T0 + step) for prompt in ("a", "b")]
            events.append(Checkpoint("committed", step, 10, 3.0, 1.0, t=T0 + step))
    run = view(*events)
    assert eta_seconds(run, T0 + 100) == pytest.approx(900 * (1 + (5 + 2 + 1) / 10))


def test_sets_and_tasks_count_each_at_its_own_cadence() -> None:
    log, events = EtaMeter(), list[Event]()
    log.total_steps = 1000
    for step in range(1, 101):
        events.append(row(step))
        if step % 10 == 0:
            events.append(SetEvaluated("wiki", step, 2.0, 7.4, None, 5, 1.0, t=T0 + step))
        if step % 50 == 0:
            events.append(TaskEvaluated("arc/easy", step, 0.5, None, 1.0, 0.0, 8, 0, 30.0, "arc", t=T0 + step))
            events.append(TaskEvaluated("arc", step, 0.5, None, 1.0, 0.0, 8, 0, 100.0, t=T0 + step))
    expected = pytest.approx(900 * (1 + 1 / 10 + 100 / 50))
    assert eta_seconds(view(*events), T0 + 100) == expected
    for event in events:
        log.see(event)
    assert log.update({"step": 100, "step_time_s": 1.0}) == expected


def test_a_commanded_evaluation_is_not_expected_again_and_the_log_says_the_same() -> None:
    asked: list[Event] = [
        Evaluated(4, 2.0, 7.4, None, 5, 40.0, t=T0 + 44),
        Acknowledged("a1", "eval", True, "evaluated", 4, t=T0 + 44),
        Sampled(4, "a prompt", "x", 1, 20.0, t=T0 + 64),
        Acknowledged("a2", "sample", True, "wrote 1 sample", 4, t=T0 + 64),
        Sampled(4, "kept", "x", 1, 20.0, t=T0 + 84),
        Acknowledged("a3", "save", True, "saving step 4", 4, t=T0 + 84),
        Checkpoint("committed", 4, 10, 3.0, 15.0, t=T0 + 100),
    ]
    regular: list[Event] = [
        Evaluated(10, 2.0, 7.4, None, 5, 5.0, t=T0 + 110),
        Sampled(10, "a", "x", 1, 3.0, t=T0 + 113),
        Checkpoint("committed", 10, 10, 3.0, 2.0, t=T0 + 115),
    ]
    log = EtaMeter()
    log.total_steps = 1000
    for events, overhead in ((asked, 0.0), ([*asked, *regular], 1.0)):
        run = view(row(1), row(2), *events, row(11, t=T0 + 120))
        assert eta_seconds(run, T0 + 120) == pytest.approx(989 * (1 + overhead))
        for event in events:
            log.see(event)
        assert log.update({"step": 11, "step_time_s": 1.0}) == pytest.approx(989 * (1 + overhead))


def test_a_resume_keeps_what_was_learnt() -> None:
    rows = [row(step, step_time_s=2.0) for step in range(1, 101)]
    resumed = fold(view(*rows), [phase("data", t=T0 + 999), started(50, attempt=2, t=T0 + 1000)])
    assert eta_seconds(resumed, T0 + 1001) == pytest.approx(950 * 2.0)


def test_an_ended_run_has_nothing_to_go_to() -> None:
    rows = [row(step) for step in range(1, 11)]
    assert eta_seconds(view(*rows, ended("stopped", 10)), T0) is None
    done = view(*(row(step) for step in range(991, 1001)))
    assert eta_seconds(done, T0 + 1000) == 0.0
    assert progress(done) == 1.0
