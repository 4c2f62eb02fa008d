"""What calls for a look, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.record.events import Checkpoint, Event, NonFinite, RolledBack, Spike, Warned
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, Status, status
from chomp_tui.live.alerts import Alert, alerts
from chomp_tui.live.feed import RunUpdate
from tests.fakeruns import T0, ended, phase, row, started

HERE = Liveness(pid=4711, since=T0 - 5)
GB = 10**9


def found(
    *events: Event, live: bool = True, now: float = T0 + 20, free: int | None = None, problem: str | None = None
) -> tuple[Alert, ...]:
    view = fold(RunView(), [started(), phase("train"), *events])
    update = RunUpdate(
        RunDir(Path("runs/a")), view, HERE if live else Liveness(), problem=problem, disk_free_bytes=free
    )
    return alerts(update, status(view, update.liveness, now), now)


def words(*events: Event, live: bool = True, now: float = T0 + 20, free: int | None = None) -> list[str]:
    return [alert.word for alert in found(*events, live=live, now=now, free=free)]


def test_a_healthy_run_calls_for_nothing() -> None:
    saved = Checkpoint("committed", 10, GB, t=T0 + 10)
    assert words(*(row(step) for step in range(1, 20)), saved, free=100 * GB) == []
    assert words(*(row(step) for step in range(1, 20)), ended("stopped", 19), live=False) == []


def test_a_step_that_was_not_finite() -> None:
    def one(step: int, action: str) -> NonFinite:
        return NonFinite(step, None, None, step, action, t=T0 + step)  # type: ignore[arg-type]

    halted = found(one(7, "halt"))[0]
    assert (halted.tone, halted.word, halted.t) == ("bad", "non-finite", T0 + 7)
    skipped = found(one(3, "skip"), one(4, "skip"))
    assert len(skipped) == 1
    assert "2 so far" in skipped[0].text


def test_a_rollback_is_told_in_the_engines_words() -> None:
    bad = NonFinite(25, None, None, 1, "rollback", t=T0 + 5)
    waiting = found(bad)[0]
    assert (waiting.tone, waiting.word) == ("bad", "non-finite")
    assert waiting.text == "step 25: loss or gradient is not finite; the engine goes back to its last good checkpoint"
    back = RolledBack(20, 25, 0.5, 125, 1, 1, "step 25: went back to the checkpoint of step 20", t=T0 + 6)
    (told,) = found(bad, back)
    assert (told.tone, told.word, told.text, told.t) == ("warn", "rollback", back.message, T0 + 6)


def test_an_engine_that_is_gone_or_said_why() -> None:
    assert words(row(1), live=False) == ["gone"]
    crashed = found(row(1), ended("crashed", 1, reason="out of memory"), live=False)
    assert [(alert.word, alert.text) for alert in crashed] == [("crashed", "out of memory")]


def test_while_an_engine_starts_the_end_of_the_one_before_it_is_no_news() -> None:
    view = fold(RunView(), [started(), row(1), ended("crashed", 1, reason="out of memory")])
    update = RunUpdate(RunDir(Path("runs/a")), view, Liveness(), disk_free_bytes=1)
    starting = Status("starting", "◐", "live")
    assert [alert.word for alert in alerts(update, status(view, Liveness(), T0 + 20), T0 + 20)] == ["crashed"]
    assert alerts(update, starting, T0 + 20) == ()


def test_silence() -> None:
    assert words(*(row(step) for step in range(1, 20)), now=T0 + 300) == ["silent"]


def test_a_refused_resume() -> None:
    refusal = [ended("stopped", 1), phase("data", t=T0 + 5), ended("crashed", 0, t=T0 + 6, reason="model.dim differs")]
    alert = found(row(1), *refusal, live=False)[0]
    assert (alert.word, alert.t) == ("refused", T0 + 6)
    assert "model.dim differs" in alert.text


def test_checkpoints_that_failed_or_were_refused() -> None:
    failed = Checkpoint("failed", 10, reason="No space left on device", t=T0 + 10)
    told = Warned(topic="checkpoint", message="step 10 could not be saved", step=10, t=T0 + 10.5)
    alert, *others = found(failed, told)
    assert (alert.tone, alert.word) == ("bad", "save failed")
    assert others == []
    assert "No space left" in alert.text
    later = Checkpoint("committed", 15, GB, t=T0 + 15)
    assert "save failed" not in words(failed, later)
    assert words(Checkpoint("refused", 5, reason="bytes differ", t=T0)) == ["damaged"]


def test_what_the_engine_warned_of_in_this_attempt() -> None:
    old = Warned(topic="data", message="old", t=T0 - 100)
    recompiled = Warned(topic="recompile", message="1 program compiled during step 9", step=9, t=T0 + 9)
    hung_up = Warned(topic="terminal", message="the terminal was closed", t=T0 + 10)
    result = found(old, recompiled, hung_up)
    assert [(alert.word, alert.tone) for alert in result] == [("terminal", "idle"), ("recompile", "warn")]


def test_memory_near_its_limit() -> None:
    full = row(1, peak_memory_gb=23.0, device_memory_limit_gb=24.0)
    assert words(full) == ["memory"]
    assert found(full)[0].text == "the device's memory is nearly full: 23.0 GiB of 24.0 GiB at its peak"
    assert words(row(1, peak_memory_gb=20.0, device_memory_limit_gb=24.0)) == []
    assert words(full, ended("completed", 1), live=False) == []


@pytest.mark.parametrize(
    ("free", "tone"),
    [(5 * GB, None), (3 * GB, "warn"), (GB, "bad"), (None, None)],
    ids=["ample", "low", "none", "unknown"],
)
def test_a_disk_that_cannot_take_the_next_checkpoints(free: int | None, tone: str | None) -> None:
    result = found(row(1), Checkpoint("committed", 1, 2 * GB, t=T0 + 1), free=free)
    assert [alert.tone for alert in result] == ([] if tone is None else [tone])


def test_a_nearly_full_disk_matters_before_the_first_checkpoint_and_to_live_runs_only() -> None:
    assert words(row(1), free=10**8) == ["disk"]
    assert words(row(1), ended("completed", 1), free=10**8, live=False) == []


def test_a_problem_of_reading_is_told() -> None:
    assert [alert.text for alert in found(row(1), problem="it cannot be read")] == ["it cannot be read"]


def test_newest_first() -> None:
    events = [Warned(topic="data", message=str(i), t=T0 + i) for i in (3, 1, 2)]
    assert [alert.text for alert in found(*events)] == ["3", "2", "1"]


# Loss spikes ---------------------------------------------------------------------------


def spike(step: int, action: str = "warn") -> Spike:
    return Spike(step, 9.0, 1.0, action, f"step {step}: the loss is 9", t=T0 + step)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["warn", "skip"])
def test_a_spike_is_told_in_the_engines_words_until_it_is_old(action: str) -> None:
    (told,) = found(*map(row, range(1, 8)), spike(5, action), spike(7, action))
    assert (told.tone, told.word, told.t) == ("warn", "loss spike", T0 + 7)
    assert told.text == "step 7: the loss is 9 (2 so far)"
    assert found(*map(row, range(1, 8)), spike(7, action), *map(row, range(8, 58)), now=T0 + 60) == ()


def test_a_spike_that_the_run_went_back_from_is_a_rollback() -> None:
    back = RolledBack(20, 25, 0.5, 125, 1, 1, "step 25: went back", cause="spike", t=T0 + 26)
    (told,) = found(spike(25, "rollback"), back, now=T0 + 27)
    assert (told.word, told.text) == ("rollback", "step 25: went back")
