"""The fold: what a run's events add up to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from chomp.record.codec import decode
from chomp.record.events import (
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    NonFinite,
    RolledBack,
    Sampled,
    SetEvaluated,
    Step,
    TaskEvaluated,
    Unknown,
    Warned,
)
from chomp.record.fold import MOST_SAMPLES, MOST_WARNINGS, fold
from chomp.record.run_view import RunView
from chomp.record.scores import MOST_SCORES, newest
from chomp_tui.live.x_axes import tokens_at
from tests.fakeruns import T0, ended, lines, phase, row, started


def evaluated(step: int, loss: float = 2.0, t: float = T0) -> Evaluated:
    return Evaluated(step=step, loss=loss, perplexity=math.exp(loss), bpb=None, tokens=5, seconds=0.5, t=t)


def scored(step: int, name: str = "wiki") -> SetEvaluated:
    return SetEvaluated(name, step, 2.0 + step / 100, 7.4, None, 5, 0.5, t=T0 + step)


def solved(step: int, name: str = "arc", part_of: str | None = None) -> TaskEvaluated:
    return TaskEvaluated(name, step, 0.25, 0.5, 1.5, 0.0, 8, 0, 0.5, part_of, t=T0 + step)


def sampled(step: int, text: str = "x") -> Sampled:
    return Sampled(step=step, prompt="A", text=text, tokens=1, seconds=0.1, t=T0 + step)


def test_a_whole_run() -> None:
    events = [
        phase("data"),
        started(),
        phase("compile", t=T0 + 2),
        Compiled(seconds=1.5, cache_hit=False, memory={"total": 9}, flops_per_token=7.0, t=T0 + 4),
        phase("train", t=T0 + 4),
        row(1, t=T0 + 5),
        row(2, t=T0 + 6),
        evaluated(2, t=T0 + 7),
        Checkpoint(state="saving", step=2, t=T0 + 7),
        Checkpoint(state="committed", step=2, bytes=100, seconds=0.4, blocked_seconds=0.1, t=T0 + 8),
        sampled(2),
        ended(step=2, t=T0 + 9),
    ]
    view = fold(RunView(), events)
    assert view.rows["step"].tolist() == [1, 2]
    assert view.rows["loss"][0] == np.float32(3.999)
    assert np.isnan(view.rows["mfu"]).all()
    assert view.evals["loss"].tolist() == [2.0]
    assert np.isnan(view.evals["bpb"]).all()
    assert (view.step, view.total_steps, view.tokens_seen, view.attempts) == (2, 1000, 500, 1)
    assert view.ended is not None
    assert view.phase is None
    assert view.compiled is not None
    assert view.first_started_at == T0
    assert view.last_t == T0 + 9
    assert (view.checkpoints[2].state, view.checkpoints[2].bytes) == ("committed", 100)
    assert view.samples[0].text == "x"


def test_an_evaluation_is_placed_at_the_tokens_of_its_own_step_though_its_row_comes_later() -> None:
    view = fold(RunView(), [started(), row(10), evaluated(20)])
    assert tokens_at(view.evals["step"], view).tolist() == [5000]
    assert tokens_at(np.array([3.0]), fold(RunView(), [started()])).tolist() == [768]


def test_a_resume_cuts_what_lies_beyond_its_step() -> None:
    first = [started(), *map(row, range(1, 21)), evaluated(10), evaluated(20), sampled(10), sampled(20)]
    first += [Checkpoint(state="committed", step=step, t=T0 + step) for step in (10, 20)]
    first += [NonFinite(step=step, loss=None, grad_norm=None, skipped=1, action="skip", t=T0) for step in (5, 15)]
    view = fold(RunView(), [*first, phase("data", t=T0 + 50), started(10, attempt=2, t=T0 + 51)])
    assert view.rows["step"][-1] == 10
    assert view.evals["step"].tolist() == [10]
    assert [sample.step for sample in view.samples] == [10]
    assert list(view.checkpoints) == [10]
    assert [one.step for one in view.nonfinite] == [5]
    assert (view.nonfinite_count, view.step, view.tokens_seen, view.attempts) == (1, 10, 2500, 2)
    again = fold(view, [row(11), row(12), phase("data", t=T0 + 60), started(5, attempt=3, t=T0 + 61)])
    assert again.rows["step"].tolist() == [1, 2, 3, 4, 5]


def rolled_back(step: int, from_step: int) -> RolledBack:
    return RolledBack(step, from_step, 0.5, from_step + 100, 1, 1, f"went back to {step}", t=T0 + from_step)


def test_a_rollback_takes_rows_back_and_stays_in_the_story() -> None:
    bad = NonFinite(step=25, loss=None, grad_norm=None, skipped=1, action="rollback", t=T0 + 25)
    events = [phase("data"), started(), phase("train"), *(row(step, t=T0 + step) for step in range(1, 25))]
    events += [Checkpoint(state="committed", step=20, seconds=0.5, t=T0 + 20), evaluated(24), sampled(24), bad]
    view = fold(RunView(), [*events, rolled_back(20, 25)])
    assert view.rows["step"][-1] == 20
    assert (len(view.evals), view.samples, view.step, view.tokens_seen) == (0, (), 20, 5000)
    assert (view.nonfinite, view.nonfinite_count) == ((bad,), 1)
    assert view.rollbacks[-1].message == "went back to 20"
    assert view.budget["lost"] == 24 - 19.5
    later = fold(view, [*(row(step) for step in range(21, 31)), phase("data"), started(30, attempt=2)])
    assert later.rollbacks == view.rollbacks
    assert later.rows["step"].tolist() == list(range(1, 31))
    again = fold(view, [phase("data"), started(20, attempt=2)])
    assert (again.rollbacks, again.nonfinite) == ((), ())


def test_an_attempt_without_a_checkpoint_begins_again() -> None:
    view = fold(RunView(), [started(), row(1), evaluated(1), sampled(1), started(None, attempt=2, t=T0 + 9)])
    assert (len(view.rows), len(view.evals), view.samples, view.step) == (0, 0, (), 0)
    assert view.first_started_at == T0


def test_a_fork_begins_at_its_checkpoint() -> None:
    view = fold(RunView(), [phase("data"), started(100), row(101)])
    assert view.rows["step"].tolist() == [101]


@pytest.mark.parametrize("earlier_end", [True, False])
def test_a_refused_resume_leaves_the_run_as_it_was(earlier_end: bool) -> None:
    run = [phase("data"), started(), phase("train"), row(1), row(2)]
    before = fold(RunView(), [*run, *([ended("stopped", 2, t=T0 + 3)] if earlier_end else [])])
    opening = fold(before, [phase("data", t=T0 + 10)])
    assert opening.opening is not None
    assert opening.ended == before.ended
    refusal = ended("crashed", 0, t=T0 + 12, reason="model.dim differs", time_budget_seconds={"startup": 2.0})
    after = fold(opening, [refusal])
    assert after.refused == refusal
    assert after.opening is None
    assert after.ended == before.ended
    assert after.rows == before.rows
    assert after.step == 2
    assert after.budget == before.budget
    resumed = fold(after, [phase("data", t=T0 + 20), started(2, attempt=2, t=T0 + 21)])
    assert resumed.refused is None
    assert resumed.ended is None


def test_an_engine_that_finds_no_device_does_not_end_a_killed_run() -> None:
    view = fold(RunView(), [started(10), row(11), ended("crashed", 0, t=T0 + 99, reason="no GPU")])
    assert view.ended is None
    assert view.refused is not None


def test_a_first_attempt_that_fails_before_it_begins_is_the_runs_end() -> None:
    view = fold(RunView(), [phase("data"), ended("crashed", 0, reason="no such file")])
    assert view.ended is not None
    assert view.ended.reason == "no such file"


def test_of_two_rows_of_one_step_the_newer_counts_and_steps_ascend() -> None:
    events = [started(), row(1), row(2, loss=9.0), row(3), row(2, loss=1.0), row(5), row(5, loss=0.5)]
    view = fold(RunView(), events)
    assert view.rows["step"].tolist() == [1, 2, 5]
    assert view.rows["loss"][1:].tolist() == [1.0, 0.5]


def test_lists_are_bounded_and_counted() -> None:
    warnings = [Warned(topic="data", message=str(i), t=T0 + i) for i in range(300)]
    answers = [Acknowledged(id=str(i), command="save", ok=True, message="", step=1, t=T0) for i in range(300)]
    view = fold(RunView(), [*warnings, *answers, *map(sampled, range(600))])
    assert (len(view.warnings), view.warning_count) == (MOST_WARNINGS, 300)
    assert view.warnings[-1].message == "299"
    assert len(view.samples) == MOST_SAMPLES
    assert view.answers[-1].id == "299"
    big = fold(RunView(), [sampled(step, "y" * 1_500_000) for step in range(5)])
    assert [sample.step for sample in big.samples] == [3, 4]
    many = fold(RunView(), [Checkpoint(state="deleted" if i < 700 else "saving", step=i, t=T0) for i in range(900)])
    assert len(many.checkpoints) == 500
    assert {700, 899} <= many.checkpoints.keys()


def test_the_newest_scores_are_kept_and_a_resume_finds_the_earlier_ones() -> None:
    events = [started(), scored(10), solved(10, "arc/easy", "arc"), solved(10), scored(20), row(20), phase("data")]
    view = fold(RunView(), events)
    assert list(newest(view.scores)) == ["wiki", "arc"], "parts of a task are not shown"
    assert newest(view.scores)["wiki"].step == 20
    assert newest(view.scores, near=13)["wiki"].step == 10
    resumed = fold(view, [started(10, attempt=2)])
    assert newest(resumed.scores)["wiki"].step == 10
    many = fold(view, [scored(step) for step in range(30, 30 + 2 * MOST_SCORES)])
    assert len(many.scores) == MOST_SCORES
    assert newest(many.scores)["arc"] == newest(view.scores)["arc"], "the only one of its name stays"


def test_unknown_kinds_are_counted() -> None:
    view = fold(RunView(), [Unknown(name="weather", fields={}, t=T0)] * 3)
    assert view.unknown_kinds == {"weather": 3}
    flood = fold(view, [Unknown(name=str(i), fields={}) for i in range(500)])
    assert len(flood.unknown_kinds) <= 51
    assert sum(flood.unknown_kinds.values()) == 503


def test_the_budget_of_an_attempt_that_ended_is_its_own_account() -> None:
    account = {"startup": 1.0, "train": 5.0, "lost": 0.0}
    view = fold(RunView(), [phase("data"), started(), ended(time_budget_seconds=account, t=T0 + 9)])
    assert view.budget == account


def test_the_budget_of_a_live_attempt_is_read_off_its_phases() -> None:
    events = [
        phase("data", t=T0),
        started(t=T0 + 2),
        phase("compile", t=T0 + 3),
        phase("train", t=T0 + 7),
        row(1, t=T0 + 12),
        phase("eval", 1, t=T0 + 12),
        phase("train", 1, t=T0 + 13.5),
        phase("paused", 1, t=T0 + 20),
        phase("train", 1, t=T0 + 80),
        row(2, t=T0 + 90),
    ]
    view = fold(RunView(), events)
    assert view.budget == {"startup": 3.0, "compile": 4.0, "train": 5 + 6.5 + 10, "eval": 1.5, "paused": 60.0}
    assert view.spent_until(T0 + 95)["train"] == 26.5


def test_what_was_trained_beyond_the_checkpoint_is_lost() -> None:
    events = [phase("data"), started(), phase("train"), *map(row, range(1, 21))]
    events.insert(13, Checkpoint(state="committed", step=10, seconds=0.5, t=T0 + 10.5))
    killed = fold(RunView(), events)
    assert killed.budget == {"train": 20.0}
    # The hour between the last word of the one engine and the first of the next is no engine's work.
    view = fold(killed, [phase("data", t=T0 + 3600), started(10, attempt=2, t=T0 + 3602)])
    assert view.budget == {"train": 10.0, "lost": 10.0, "startup": 2.0}


def test_values_that_do_not_fit_are_no_numbers_and_their_lines_are_counted() -> None:
    hostile = [
        row(1, loss="low", grad_norm=10**400, lr=None, tokens_seen=[], mfu=True),
        Step(row={"step": "3"}, t=T0),
        replace(evaluated(1), step=-1),
        phase("train", step=10**30),
    ]
    view = fold(RunView(), [started(), *(event for line in lines(hostile).splitlines() if (event := decode(line)))])
    assert view.rows["step"].tolist() == [1]
    assert all(np.isnan(view.rows[name]).all() for name in ("loss", "grad_norm", "lr", "tokens_seen", "mfu"))
    assert view.unknown_kinds == {"step": 1, "eval": 1, "phase": 1}
    assert (view.step, view.phase) == (1, None)


def test_a_view_never_changes_when_the_fold_goes_on() -> None:
    first = fold(RunView(), [started(), row(1), Checkpoint(state="saving", step=1, t=T0)])
    kept = (first.rows["step"].tolist(), dict(first.checkpoints), dict(first.spent), first.step)
    fold(first, [row(2), Checkpoint(state="committed", step=1, t=T0), phase("eval", 2), phase("train", 2, t=T0 + 9)])
    assert (first.rows["step"].tolist(), dict(first.checkpoints), dict(first.spent), first.step) == kept
