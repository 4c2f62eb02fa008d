"""From a run's events to notices: those of the engine, and those of whom watches a run."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from chomp.config.notify import NOTICE_KINDS, NotifyConfig
from chomp.notify.notice import WORDS, Notice
from chomp.notify.notifier import Notifier
from chomp.notify.once import OnceNotifier, fact_id
from chomp.notify.watch import RunWatch, end_of_attempt
from chomp.record.events import Checkpoint, Event, NonFinite, Spike, Warned
from chomp.record.rundir import RunDir
from chomp.sinks import NoticeSink
from tests import fakeruns
from tests.fakeruns import append, ended, hold, phase, row, started
from tests.notify.test_notifier import Recorder

LATER = 10_000.0


def told(*events: Event, kinds: tuple[str, ...] = NOTICE_KINDS) -> list[Notice]:
    """The notices of an engine that publishes these events."""
    sent: list[Notice] = []

    class Keeper(Recorder):
        def send(self, notice: Notice) -> None:
            sent.append(notice)

    warned: list[Event] = []
    sink = NoticeSink(
        Notifier(NotifyConfig(kinds=list(kinds)), [Keeper()]), lambda: RunDir(Path("demo")), warned.append
    )
    for event in (started(total_steps=100), *events):
        sink.handle(event)
    sink.close()
    assert warned == []
    return sent


NONFINITE = NonFinite(7, None, None, 3, "skip")


@pytest.mark.parametrize(
    ("event", "kind", "reason"),
    [
        (ended(step=9), "finished", "all steps done"),
        (ended("data_exhausted", 9, "the text is used up"), "finished", "the text is used up"),
        (ended("stopped", 9, "SIGTERM received"), "stopped", "SIGTERM received"),
        (ended("crashed", 9, "out of memory", exit_code=4), "crashed", "out of memory"),
        (ended("crashed", 9, "the loss is nan", exit_code=6), "crashed", "the loss is nan"),
        (NONFINITE, "nonfinite", "the loss is not finite (skip); 3 steps skipped"),
        (Spike(7, 9.0, 1.0, "warn", "up"), "spike", "up"),
        (Warned("stalled", "no step"), "stalled", "no step"),
        (Warned("disk", "full"), "disk", "full"),
        (Checkpoint("failed", 8, reason="No space left on device"), "disk", "step 8 could not be saved: No space"),
        (Warned("data", "read failed"), None, ""),
        (Checkpoint("committed", 8), None, ""),
        (NonFinite(7, None, None, 1, "halt"), None, ""),
        (ended("a status of a newer engine", 9), None, ""),
    ],
)
def test_what_an_engine_tells(event: Event, kind: str | None, reason: str) -> None:
    sent = told(row(5), event)
    assert [notice.kind for notice in sent] == ([kind] if kind else [])
    for notice in sent:
        assert notice.reason.startswith(reason)
        assert (notice.run, notice.total_steps) == ("demo", 100)
        assert notice.path == str(Path("demo").absolute())
        assert notice.loss == row(5).row["loss"]


def test_a_loss_that_ends_the_run_is_one_notice_of_the_wanted_kind() -> None:
    events = NonFinite(7, None, None, 1, "halt"), ended("crashed", 6, "the loss is nan", exit_code=6)
    assert [notice.kind for notice in told(*events)] == ["crashed"]
    assert [notice.kind for notice in told(*events, kinds=("nonfinite",))] == ["nonfinite"]
    assert told(*events, kinds=("finished",)) == []


def test_every_kind_has_its_words_and_its_row_in_the_page() -> None:
    assert set(WORDS) == {*NOTICE_KINDS, "test"}
    page = (Path(__file__).parents[2] / "docs" / "notify.md").read_text()
    assert all(f"| `{kind}` |" in page for kind in NOTICE_KINDS)
    json.dumps(Notice("spike", "demo", "x", loss=float("nan")).as_json(), allow_nan=False)


def live_run(folder: Path) -> RunDir:
    """A run whose engine is this process."""
    run = fakeruns.make_run(folder / "demo", age=1.0)
    hold(run)
    return run


def test_a_kill_is_told_once_and_an_end_of_its_own_is_not(tmp_path: Path) -> None:
    run = live_run(tmp_path)
    watch = RunWatch(run.path)
    assert watch.look() is None
    run.lock.unlink()
    notice = watch.look()
    assert notice is not None
    assert (notice.kind, notice.run, notice.step, notice.total_steps) == ("killed", "demo", 20, 200)
    assert watch.look() is None
    hold(run)
    append(run, started(20, attempt=2), phase("train", 20))
    assert watch.look() is None
    append(run, ended("crashed", 21, "out of memory"))
    run.lock.unlink()
    assert watch.look() is None


def test_what_was_so_before_the_first_look_is_not_told(tmp_path: Path) -> None:
    watch = RunWatch(tmp_path / "demo")
    assert watch.look() is None
    run = fakeruns.make_run(tmp_path / "demo")
    assert watch.look() is None
    assert watch.summary is not None
    assert watch.summary.status.state == "crashed"
    assert RunWatch(run.path).look() is None


class Held(Recorder):
    """Sends when `opened` is set; `sent` has the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.sent = threading.Event(), list[str]()

    def send(self, notice: Notice) -> None:
        assert self.opened.wait(10)
        self.sent.append(notice.id)


def test_watchers_of_one_run_send_one_notice_for_a_fact_also_if_one_is_killed(tmp_path: Path) -> None:
    run, settings = live_run(tmp_path), NotifyConfig(command=["tell"])
    watches, channels = [RunWatch(run.path), RunWatch(tmp_path / "demo" / ".." / "demo")], [Held() for _ in range(3)]
    other = NotifyConfig(command=["tell", "another"])
    senders = [
        OnceNotifier(one, Notifier(one, [channel]))
        for one, channel in zip((settings, settings, other), channels, strict=True)
    ]
    assert [watch.look() for watch in watches] == [None, None]
    run.lock.unlink()
    first, second = [watch.look() for watch in watches]
    assert first is not None
    assert second is not None
    assert first.id == second.id == fact_id(run.path, end_of_attempt(run))
    assert [one.send(run, first) for one in senders] == [True, False, True], "other receivers hear of it, too"
    assert senders[1].take_over(run) == []
    # The first sender is killed before it sends: its process is another one, which is gone.
    text = run.notices.read_text()
    run.notices.write_text(text.replace(f'"pid": {os.getpid()}', '"pid": 999999999', 1) + '{"torn')
    taken = senders[1].take_over(run)
    assert [(notice.id, notice.kind, notice.step) for notice in taken] == [(first.id, "killed", 20)]
    for one, channel in zip(senders, channels, strict=True):
        if one is not senders[0]:
            channel.opened.set()
        one.notifier.close(10 if channel.opened.is_set() else 0)
    assert [channel.sent for channel in channels] == [[], [first.id], [first.id]]
    # Sent is sent: for a sender of the same receivers that begins later, too.
    later = OnceNotifier(settings, Notifier(settings, [channels[1]]))
    assert later.send(run, second) is False
    assert later.take_over(run) == []
    # The next attempt's end is another fact; where nothing can be noted it is sent all the same.
    append(run, started(20, attempt=2))
    assert fact_id(run.path, end_of_attempt(run)) != first.id
    run.notices.unlink()
    run.notices.mkdir()
    assert later.send(run, second) is True
    later.notifier.close()


@pytest.mark.parametrize("engine_told", [False, True])
def test_a_silent_engine_is_told_unless_it_has_told_itself(
    engine_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = live_run(tmp_path)
    if engine_told:
        append(run, Warned("stalled", "no step has completed for 1m05s"))
    watch = RunWatch(run.path)
    assert watch.look() is None
    assert watch.summary is not None
    assert watch.summary.status.is_live
    later = time.time() + LATER
    monkeypatch.setattr(time, "time", lambda: later)
    # The status is computed anew although no file has changed.
    notice = watch.look()
    assert [notice.kind if notice else None, watch.summary.status.word] == [
        None if engine_told else "stalled",
        "silent",
    ]
    assert watch.look() is None
